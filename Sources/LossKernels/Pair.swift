/// Two vectors, operation by operation: the 32 elements of the design's partial sums. Each hides the other's latency, which it
/// would not do if it came as a whole before the other: a processor looks ahead by less than a logarithm.
struct Pair<V: Sixteen>: Vector, Terms {
    var low, high: V

    struct Bits {
        var low, high: V.Bits
        @inline(__always) init(_ low: V.Bits, _ high: V.Bits) { (self.low, self.high) = (low, high) }
    }

    @inline(__always) init(_ low: V, _ high: V) { (self.low, self.high) = (low, high) }
    @inline(__always) init(_ value: Double) { self.init(V(value), V(value)) }
    @inline(__always) init(bits: Bits) { self.init(V(bits: bits.low), V(bits: bits.high)) }
    @inline(__always) var bits: Bits { Bits(low.bits, high.bits) }

    @inline(__always) static var width: Int { 32 }
    @inline(__always) static var bytes: Int { V.bytes }
    @inline(__always) static var positions: Self { Self(V.positions, V.positions + V(16)) }
    @inline(__always) static func load(_ from: In, _ index: Int) -> Self {
        Self(V.load(from, index), V.load(from, index &+ 16))
    }
    @inline(__always) func store(_ to: Out, _ index: Int) {
        low.store(to, index)
        high.store(to, index &+ 16)
    }
    @inline(__always) static func loadBits(_ from: In, _ index: Int) -> Bits {
        Bits(V.loadBits(from, index), V.loadBits(from, index &+ 16))
    }
    @inline(__always) static func storeBits(_ bits: Bits, _ to: Out, _ index: Int) {
        V.storeBits(bits.low, to, index)
        V.storeBits(bits.high, to, index &+ 16)
    }

    @inline(__always) static var count: Int { 1 }
    @inline(__always) static var zero: Self { Self(0) }
    @inline(__always) func plus(_ other: Self) -> Self { self + other }
    @inline(__always) func addWidened(to sums: Sums) { (low + high).addWidened(to: sums) }

    @inline(__always) static func + (a: Self, b: Self) -> Self { Self(a.low + b.low, a.high + b.high) }
    @inline(__always) static func - (a: Self, b: Self) -> Self { Self(a.low - b.low, a.high - b.high) }
    @inline(__always) static func * (a: Self, b: Self) -> Self { Self(a.low * b.low, a.high * b.high) }
    @inline(__always) static func / (a: Self, b: Self) -> Self { Self(a.low / b.low, a.high / b.high) }
    @inline(__always) func fma(_ a: Self, _ b: Self) -> Self { Self(low.fma(a.low, b.low), high.fma(a.high, b.high)) }
    @inline(__always) func rounded() -> Self { Self(low.rounded(), high.rounded()) }
    @inline(__always) func truncated() -> Self { Self(low.truncated(), high.truncated()) }

    @inline(__always) static func less(_ a: Self, _ b: Self) -> Bits {
        Bits(V.less(a.low, b.low), V.less(a.high, b.high))
    }
    @inline(__always) static func equal(_ a: Self, _ b: Self) -> Bits {
        Bits(V.equal(a.low, b.low), V.equal(a.high, b.high))
    }
    @inline(__always) static func and(_ a: Bits, _ b: Bits) -> Bits { Bits(V.and(a.low, b.low), V.and(a.high, b.high)) }
    @inline(__always) static func or(_ a: Bits, _ b: Bits) -> Bits { Bits(V.or(a.low, b.low), V.or(a.high, b.high)) }
    @inline(__always) static func not(_ a: Bits) -> Bits { Bits(V.not(a.low), V.not(a.high)) }
    @inline(__always) static func any(_ mask: Bits) -> Bool { V.any(V.or(mask.low, mask.high)) }
    @inline(__always) static func select(_ mask: Bits, _ a: Self, _ b: Self) -> Self {
        Self(V.select(mask.low, a.low, b.low), V.select(mask.high, a.high, b.high))
    }
    @inline(__always) static func select(_ mask: Bits, _ a: Bits, _ b: Bits) -> Bits {
        Bits(V.select(mask.low, a.low, b.low), V.select(mask.high, a.high, b.high))
    }
    @inline(__always) func keep(_ mask: Bits) -> Self { Self(low.keep(mask.low), high.keep(mask.high)) }
    @inline(__always) var magnitude: Self { Self(low.magnitude, high.magnitude) }
    @inline(__always) func signed(like other: Self) -> Self {
        Self(low.signed(like: other.low), high.signed(like: other.high))
    }

    @inline(__always) var parts: (mantissa: Self, exponent: Self) {
        let (a, b) = (low.parts, high.parts)
        return (Self(a.mantissa, b.mantissa), Self(a.exponent, b.exponent))
    }
    @inline(__always) func scaled(byPowerOfTwo n: Self) -> Self {
        Self(low.scaled(byPowerOfTwo: n.low), high.scaled(byPowerOfTwo: n.high))
    }

    @inline(__always) var order: Bits { Bits(low.order, high.order) }
    @inline(__always) static func orderGreater(_ a: Bits, _ b: Bits) -> Bits {
        Bits(V.orderGreater(a.low, b.low), V.orderGreater(a.high, b.high))
    }
    @inline(__always) static func orderEqual(_ a: Bits, _ b: Bits) -> Bits {
        Bits(V.orderEqual(a.low, b.low), V.orderEqual(a.high, b.high))
    }
    @inline(__always) static func heads(_ orders: Bits, above shift: Int) -> Bits {
        Bits(V.heads(orders.low, above: shift), V.heads(orders.high, above: shift))
    }
    @inline(__always) static func head(_ prefix: UInt64, above shift: Int) -> Bits {
        Bits(V.head(prefix, above: shift), V.head(prefix, above: shift))
    }

    @inline(__always) static func whole(_ n: Int) -> Bits { Bits(V.whole(n), V.whole(n)) }
    @inline(__always) static func add(_ a: Bits, _ b: Bits) -> Bits { Bits(V.add(a.low, b.low), V.add(a.high, b.high)) }
    @inline(__always) static func subtract(_ a: Bits, _ b: Bits) -> Bits {
        Bits(V.subtract(a.low, b.low), V.subtract(a.high, b.high))
    }
    @inline(__always) static func bit(_ n: Self) -> Bits { Bits(V.bit(n.low), V.bit(n.high)) }
    @inline(__always) static var half: Int { V.half }
    @inline(__always) static var quiet: Int { V.quiet }

    @inline(__always) var inverseRootEstimate: Self { Self(low.inverseRootEstimate, high.inverseRootEstimate) }
    @inline(__always) static var rootSteps: Int { V.rootSteps }
    @inline(__always) static var logTerms: Int { V.logTerms }
    @inline(__always) static var log1pTerms: Int { V.log1pTerms }
    @inline(__always) static var expTerms: Int { V.expTerms }
    @inline(__always) static var ln2: (high: Double, low: Double) { V.ln2 }
    @inline(__always) static var expLimit: Double { V.expLimit }
    @inline(__always) static var underflow: Double { V.underflow }
    @inline(__always) static var powerSum: Double { V.powerSum }
    @inline(__always) static var unlift: Double { V.unlift }
    @inline(__always) var powerOfSum: Self { Self(low.powerOfSum, high.powerOfSum) }
}
