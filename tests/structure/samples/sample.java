package org.example.shop;

import java.util.List;

/**
 * A basket.
 * Not thread-safe.
 */
@Entity
public class Basket<T extends Item> extends Base implements Iterable<T> {
    public static final int MAX_ITEMS = 100;
    private List<T> items, removed;

    static {
        int boot = 1;
    }

    /** Makes a basket. */
    public Basket(List<T> items) {
        this.items = items;
    }

    /** The sum of all prices. */
    @Override
    @Deprecated
    public long total(int factor) throws Overflow {
        long sum = 0;
        Runnable r = () -> { int z = 1; };
        return sum;
    }

    // An inner class.
    static class Cursor {
        int position;

        boolean done() { return true; }
    }

    enum State {
        OPEN, CLOSED(1);

        int code() { return 0; }
    }
}

interface Item {
    int LIMIT = 3;

    long price();

    default String label() { return ""; }
}

record Point(int x, int y) {
    Point {
        check(x);
    }
}

@interface Entity {
    String value() default "";
}
