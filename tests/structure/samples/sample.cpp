#include <string>

#define CHECK(x) do { if (!(x)) abort(); } while (0)

namespace geo::shapes {

/// A shape with an area.
class Shape {
public:
    explicit Shape(std::string name);
    virtual ~Shape() = default;
    virtual double area() const = 0;
    const std::string &name() const { return name_; }
    bool operator==(const Shape &other) const;
    static const int kLimit = 10;

protected:
    std::string name_;
};

enum class Colour { Red, Green };

// A pair of values.
template <typename T, typename U>
struct Pair {
    T first;
    U second;
    struct Inner { int depth; };
};

template <typename T>
T largest(T a, T b) { return a > b ? a : b; }

using Shapes = Pair<Shape, Shape>;
concept Drawable = requires(Shape s) { s.area(); };

}  // namespace geo::shapes

geo::shapes::Shape::Shape(std::string name) : name_(name) {}

// Compare by name.
bool geo::shapes::Shape::operator==(const Shape &other) const {
    int local = 1;
    return name_ == other.name_;
}

namespace {
int counter = 0;
}

extern "C" {
int exported(void) { return counter; }
}

template <class T>
const T &Stack<T>::top() const { return items.back(); }

constexpr int kAnswer = 42;
union Bits { int i; float f; };
