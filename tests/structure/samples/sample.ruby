require 'set'

# Shop things.
module Shop
  VERSION = '1.0'

  # A basket of items.
  # It counts.
  class Basket < Base
    include Enumerable
    attr_reader :items, :owner
    attr_accessor :note

    MAX = 10
    @@count = 0

    def initialize(items)
      @items = items
      local = 1
    end

    # The sum.
    def total(tax: 0, **rest)
      items.sum { |i| i.price } * (1 + tax)
    end

    def self.empty
      new([])
    end

    class << self
      def build(*args)
        new(args)
      end
    end

    def ==(other) = items == other.items

    def empty?; items.empty?; end

    private def secret
      1
    end

    alias_method :sum, :total
  end

  class Shop::Error < StandardError; end

  Point = Struct.new(:x, :y)
end

def helper(x)
  x
end

$global = 1
square = ->(x) { x * x }
