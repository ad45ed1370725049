//! Lists.
const std = @import("std");

/// The largest length.
pub const max_len: usize = 64;
var counter: u32 = 0;

/// A list of values.
pub const List = struct {
    items: []u8,
    len: usize = 0,

    const Self = @This();

    /// Makes a list.
    pub fn init(allocator: std.mem.Allocator) !Self {
        const local = 1;
        _ = local;
        return Self{ .items = &.{} };
    }

    pub fn deinit(self: *Self) void {
        self.* = undefined;
    }
};

pub const Colour = enum(u8) { red, green, fn dark(self: Colour) bool { return false; } };

const Value = union(enum) { int: i64, none };

const Error = error{ OutOfMemory, TooLong };

// Generic.
pub fn Stack(comptime T: type) type {
    return struct {
        top: ?T,
        pub fn push(self: *@This(), value: T) void {}
    };
}

extern fn abs(x: c_int) c_int;

test "list works" {
    const inner = 1;
    _ = inner;
}

pub fn main() !void {}
