import KernelTable

/// Lanes of one compute type, with just the operations that become single instructions.
///
/// Kernels are generic over this protocol and specialised for sixteen lanes (`V32`, `V64`) or two such vectors (`Pair`).
/// The operations are spelt in the ways that the compiler turns into vector code: a select is
/// `((a ^ b) & mask) ^ b` on bits, minimum and maximum are that select.
protocol Vector {
    /// Signed integers of the same width: raw bits, comparison masks and order keys.
    associatedtype Bits

    /// How many elements it has, and the bytes of one.
    static var width: Int { get }
    static var bytes: Int { get }
    /// 0, 1, 2 …
    static var positions: Self { get }
    static func load(_ from: UnsafeRawPointer, _ index: Int) -> Self
    func store(_ to: UnsafeMutableRawPointer, _ index: Int)

    init(_ value: Double)
    static func + (a: Self, b: Self) -> Self
    static func - (a: Self, b: Self) -> Self
    static func * (a: Self, b: Self) -> Self
    static func / (a: Self, b: Self) -> Self
    /// self + a·b, rounded once.
    func fma(_ a: Self, _ b: Self) -> Self
    func rounded() -> Self
    func truncated() -> Self

    static func less(_ a: Self, _ b: Self) -> Bits
    static func equal(_ a: Self, _ b: Self) -> Bits
    static func and(_ a: Bits, _ b: Bits) -> Bits
    static func or(_ a: Bits, _ b: Bits) -> Bits
    static func not(_ a: Bits) -> Bits
    static func any(_ mask: Bits) -> Bool
    static func select(_ mask: Bits, _ a: Self, _ b: Self) -> Self
    /// The lanes where the mask is set, 0 elsewhere.
    func keep(_ mask: Bits) -> Self

    var magnitude: Self { get }
    /// self with the sign of `other` (self is not negative).
    func signed(like other: Self) -> Self

    /// x = m·2^e with √½ ≤ m < √2, for 0 < x < ∞.
    var parts: (mantissa: Self, exponent: Self) { get }
    /// self·2^n for a whole number n, in two steps so that results may be subnormal.
    func scaled(byPowerOfTwo n: Self) -> Self

    /// Integers that sort as the values do: −0 with +0, NaN above everything.
    var order: Bits { get }
    static func orderGreater(_ a: Bits, _ b: Bits) -> Bits
    static func orderEqual(_ a: Bits, _ b: Bits) -> Bits
    /// Orders of the keys without their last `shift` bits, to be compared with those of `prefix`.
    static func heads(_ orders: Bits, above shift: Int) -> Bits
    static func head(_ prefix: UInt64, above shift: Int) -> Bits

    // Whole numbers as wide as the elements.
    static func loadBits(_ from: UnsafeRawPointer, _ index: Int) -> Bits
    static func storeBits(_ bits: Bits, _ to: UnsafeMutableRawPointer, _ index: Int)
    static func whole(_ n: Int) -> Bits
    static func add(_ a: Bits, _ b: Bits) -> Bits
    static func subtract(_ a: Bits, _ b: Bits) -> Bits
    static func select(_ mask: Bits, _ a: Bits, _ b: Bits) -> Bits
    /// 1 << n for a whole number 0 ≤ n < 32.
    static func bit(_ n: Self) -> Bits
    var bits: Bits { get }
    init(bits: Bits)
    /// The bits of ½.
    static var half: Int { get }
    /// The bit that tells a quiet NaN from infinity.
    static var quiet: Int { get }
    /// 1/√x within 0.2 %, from the bits of a positive number; and how many of Newton's steps make it exact.
    var inverseRootEstimate: Self { get }
    static var rootSteps: Int { get }

    /// Enough terms of each series for this type's precision.
    static var logTerms: Int { get }
    static var log1pTerms: Int { get }
    static var expTerms: Int { get }
    /// ln 2 in two parts, the first with enough trailing zeros that e·high is exact.
    static var ln2: (high: Double, low: Double) { get }
    /// exp underflows to 0 below −limit and overflows above limit.
    static var expLimit: Double { get }
    /// What exp takes below −underflow is 0.
    static var underflow: Double { get }
    /// Even, so that what it rounds goes to even; powerSum + n has the bits of 2^n/unlift in its lowest ones for n ≤ 0.
    static var powerSum: Double { get }
    static var unlift: Double { get }
    var powerOfSum: Self { get }
}

/// What kernels need besides that take some elements by themselves, or in float64.
protocol Sixteen: Vector, Terms {
    /// The same lanes in float64, and back.
    static func loadWide(_ from: UnsafeRawPointer, _ index: Int) -> V64
    init(narrowing wide: V64)
    /// A stored order as an unsigned key; and the value that has it.
    static func key(_ orders: UnsafeRawPointer, _ index: Int) -> UInt64
    static func value(ofKey key: UInt64) -> Double
    // One element, where a kernel has to take them one after the other.
    /// out[i + codes[i]] += g[i], unless g[i] is 0.
    static func scatter(_ codes: UnsafeRawPointer, _ g: UnsafeRawPointer, _ out: UnsafeMutableRawPointer, _ i: Int)
    /// Element i of row places[i] of out = values[i].
    static func put(
        _ values: UnsafeRawPointer, _ places: UnsafeRawPointer, _ pitch: Int, _ out: UnsafeMutableRawPointer, _ i: Int)
}

extension Sixteen {
    @inline(__always) static var width: Int { 16 }
    @inline(__always) static var count: Int { 1 }
    @inline(__always) static var zero: Self { Self(0) }
    @inline(__always) func plus(_ other: Self) -> Self { self + other }
}

extension Vector {
    // Where a lane is NaN both give b.
    @inline(__always) static func max(_ a: Self, _ b: Self) -> Self { select(less(b, a), a, b) }
    @inline(__always) static func min(_ a: Self, _ b: Self) -> Self { select(less(a, b), a, b) }
    /// −1, 0 or 1; NaN stays NaN.
    @inline(__always) var sign: Self {
        Self.select(
            Self.equal(self, Self(0)), Self(0), Self.select(Self.equal(self, self), Self(1).signed(like: self), self))
    }
    @inline(__always) static prefix func - (a: Self) -> Self { Self(0) - a }
    /// self − a·b, rounded once.
    @inline(__always) func fnma(_ a: Self, _ b: Self) -> Self { fma(a * Self(-1), b) }
}

/// (The standard library's `any` is a function of its own at the baseline, and weak.)
@inline(__always)
func isAnyNegative<S: SignedInteger & FixedWidthInteger>(_ lanes: SIMD16<S>) -> Bool {
    let eight = lanes.lowHalf | lanes.highHalf
    let four = eight.lowHalf | eight.highHalf
    let two = four.lowHalf | four.highHalf
    return two[0] | two[1] < 0
}
