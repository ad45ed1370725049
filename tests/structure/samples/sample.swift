import Foundation

/// The limit.
let limit = 10
var counter: Int = 0

typealias Handler = (String) -> Void

/// A user.
@objc
public final class User: Base, Named {
    private let id: Int
    var name: String = "" {
        didSet { print(name) }
    }
    static let shared = User(id: 1)
    var label: String { return name }

    init(id: Int) {
        self.id = id
        let local = 1
    }

    deinit { counter -= 1 }

    /// Greets.
    @discardableResult
    func greet(_ other: User, times: Int = 1) -> String {
        func helper() {}
        return "hi"
    }

    subscript(index: Int) -> Int { return index }

    struct Part { let size: Int }
}

protocol Named {
    var title: String { get }
    func greet(_ other: User, times: Int) -> String
    associatedtype Item
}

enum Colour: Int {
    case red = 1, green
    case blue
    func dark() -> Bool { return false }
}

extension User.Part: Equatable {
    static func == (a: Self, b: Self) -> Bool { return true }
    var area: Int { size * size }
}

// Doubles.
func twice<T: Numeric>(_ x: T) -> T { x * 2 }

actor Store { var items: [Int] = [] }
