/// Sixteen lanes of float64.
struct V64: Sixteen {
    var lanes: SIMD16<Double>
    typealias Bits = SIMD16<Int64>

    @inline(__always) static var bytes: Int { 8 }
    @inline(__always) init(lanes: SIMD16<Double>) { self.lanes = lanes }
    @inline(__always) static var positions: Self {
        Self(lanes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    }
    @inline(__always) static func load(_ from: UnsafeRawPointer, _ index: Int) -> Self {
        Self(lanes: from.loadUnaligned(fromByteOffset: index &* 8, as: SIMD16<Double>.self))
    }
    @inline(__always) func store(_ to: UnsafeMutableRawPointer, _ index: Int) {
        to.storeBytes(of: lanes, toByteOffset: index &* 8, as: SIMD16<Double>.self)
    }
    @inline(__always) func addWidened(to sums: UnsafeMutablePointer<Double>) {
        let raw = UnsafeMutableRawPointer(sums)
        (Self.load(raw, 0) + self).store(raw, 0)
    }
    @inline(__always) static func loadWide(_ from: UnsafeRawPointer, _ index: Int) -> V64 { load(from, index) }
    @inline(__always) init(narrowing wide: V64) { self = wide }

    @inline(__always) init(_ value: Double) { lanes = SIMD16(repeating: value) }

    @inline(__always) static func less(_ a: Self, _ b: Self) -> Bits {
        unsafeBitCast(a.lanes .< b.lanes, to: Bits.self)
    }
    @inline(__always) static func equal(_ a: Self, _ b: Self) -> Bits {
        unsafeBitCast(a.lanes .== b.lanes, to: Bits.self)
    }
    @inline(__always) static func and(_ a: Bits, _ b: Bits) -> Bits { a & b }
    @inline(__always) static func or(_ a: Bits, _ b: Bits) -> Bits { a | b }
    @inline(__always) static func not(_ a: Bits) -> Bits { ~a }
    @inline(__always) static func any(_ mask: Bits) -> Bool { isAnyNegative(mask) }
    @inline(__always) static func select(_ mask: Bits, _ a: Self, _ b: Self) -> Self {
        let x = a.bits
        let y = b.bits
        return Self(bits: ((x ^ y) & mask) ^ y)
    }
    @inline(__always) func keep(_ mask: Bits) -> Self { Self(bits: bits & mask) }
    @inline(__always) var bits: Bits { unsafeBitCast(lanes, to: Bits.self) }
    @inline(__always) init(bits: Bits) { lanes = unsafeBitCast(bits, to: SIMD16<Double>.self) }

    @inline(__always) func signed(like other: Self) -> Self { Self(bits: bits | (other.bits & Bits(repeating: .min))) }

    @inline(__always) var parts: (mantissa: Self, exponent: Self) {
        let subnormal = Self.less(self, Self(0x1p-1022))
        let x = Self.select(subnormal, self * Self(0x1p64), self)
        let e = (x.bits &- Bits(repeating: 0x3FE6_A09E_667F_3BCD)) &>> Bits(repeating: 52)
        let mantissa = Self(bits: x.bits &- (e &<< Bits(repeating: 52)))
        // |e| < 2^11: added to the low bits of 1.5·2^52 it is a float64.
        let exponent = Self(bits: e &+ Bits(repeating: 0x4338_0000_0000_0000)) - Self(0x1.8p52)
        return (mantissa, exponent - Self(64).keep(subnormal))
    }
    @inline(__always) func scaled(byPowerOfTwo n: Self) -> Self {
        let whole = n.asInt
        let half = whole &>> Bits(repeating: 1)
        return self * Self.powerOfTwo(half) * Self.powerOfTwo(whole &- half)
    }
    @inline(__always) static func powerOfTwo(_ n: Bits) -> Self {
        Self(bits: (n &+ Bits(repeating: 1023)) &<< Bits(repeating: 52))
    }

    // Whole numbers within ±2^51: adding 1.5·2^52 leaves them in the low bits.
    @inline(__always) var asInt: Bits {
        (self + Self(0x1.8p52)).bits &- Bits(repeating: 0x4338_0000_0000_0000)
    }

    @inline(__always) var order: Bits {
        let b = (self + Self(0)).bits
        let flipped = b ^ ((b &>> Bits(repeating: 63)) & Bits(repeating: .max))
        let number = Self.equal(self, self)
        return (flipped & number) | (Bits(repeating: .max) & ~number)
    }
    @inline(__always) static func storeBits(_ bits: Bits, _ to: UnsafeMutableRawPointer, _ index: Int) {
        to.storeBytes(of: bits, toByteOffset: index &* 8, as: Bits.self)
    }
    @inline(__always) static func key(_ orders: UnsafeRawPointer, _ index: Int) -> UInt64 {
        orders.load(fromByteOffset: index &* 8, as: UInt64.self) ^ 0x8000_0000_0000_0000
    }
    @inline(__always) static func value(ofKey key: UInt64) -> Double {
        Double(bitPattern: key >> 63 == 1 ? key ^ 0x8000_0000_0000_0000 : ~key)
    }
    @inline(__always) static func orderGreater(_ a: Bits, _ b: Bits) -> Bits { unsafeBitCast(a .> b, to: Bits.self) }
    @inline(__always) static func orderEqual(_ a: Bits, _ b: Bits) -> Bits { unsafeBitCast(a .== b, to: Bits.self) }
    @inline(__always) static func heads(_ orders: Bits, above shift: Int) -> Bits {
        orders &>> Bits(repeating: Int64(truncatingIfNeeded: shift))
    }
    @inline(__always) static func head(_ prefix: UInt64, above shift: Int) -> Bits {
        // Orders are signed: half the range of the shifted keys lies between the two.
        let lowest = Int64.min &>> Int64(truncatingIfNeeded: shift)
        return Bits(repeating: Int64(truncatingIfNeeded: prefix) &+ lowest)
    }

    @inline(__always) static func loadBits(_ from: UnsafeRawPointer, _ index: Int) -> Bits {
        from.loadUnaligned(fromByteOffset: index &* 8, as: Bits.self)
    }
    @inline(__always) static func whole(_ n: Int) -> Bits { Bits(repeating: Int64(n)) }
    @inline(__always) static func add(_ a: Bits, _ b: Bits) -> Bits { a &+ b }
    @inline(__always) static func subtract(_ a: Bits, _ b: Bits) -> Bits { a &- b }
    @inline(__always) static func select(_ mask: Bits, _ a: Bits, _ b: Bits) -> Bits { ((a ^ b) & mask) ^ b }
    @inline(__always) static func bit(_ n: Self) -> Bits { Bits(repeating: 1) &<< n.asInt }
    @inline(__always) static func scatter(
        _ codes: UnsafeRawPointer, _ g: UnsafeRawPointer, _ out: UnsafeMutableRawPointer, _ i: Int
    ) {
        let value = g.loadUnaligned(fromByteOffset: i &* 8, as: Double.self)
        if value == 0 { return }
        let at = (i &+ Int(codes.loadUnaligned(fromByteOffset: i &* 8, as: Int64.self))) &* 8
        out.storeBytes(
            of: out.loadUnaligned(fromByteOffset: at, as: Double.self) + value, toByteOffset: at, as: Double.self)
    }
    @inline(__always) static func put(
        _ values: UnsafeRawPointer, _ places: UnsafeRawPointer, _ pitch: Int, _ out: UnsafeMutableRawPointer, _ i: Int
    ) {
        let row = Int(places.loadUnaligned(fromByteOffset: i &* 8, as: Int64.self))
        out.storeBytes(
            of: values.loadUnaligned(fromByteOffset: i &* 8, as: Double.self), toByteOffset: row &* pitch &+ i &* 8,
            as: Double.self)
    }
    @inline(__always) static var half: Int { 0x3FE0_0000_0000_0000 }
    @inline(__always) static var quiet: Int { 0x0008_0000_0000_0000 }

    @inline(__always) var inverseRootEstimate: Self {
        Self(bits: Bits(repeating: 0x5FE6_EB50_C7B5_37A9) &- (bits &>> Bits(repeating: 1)))
    }
    @inline(__always) static var rootSteps: Int { 4 }
    @inline(__always) static var logTerms: Int { 12 }
    @inline(__always) static var log1pTerms: Int { 16 }
    @inline(__always) static var expTerms: Int { 14 }
    @inline(__always) static var ln2: (high: Double, low: Double) { (0x1.62e42fefa3800p-1, 0x1.ef35793c76730p-45) }
    @inline(__always) static var expLimit: Double { 1080 }
    @inline(__always) static var underflow: Double { 746 }
    @inline(__always) static var powerSum: Double { 0x1.8p52 + 1023 + 129 }
    @inline(__always) static var unlift: Double { 0x1p-129 }
    @inline(__always) var powerOfSum: Self { Self(bits: bits &<< Bits(repeating: 52)) }
}
