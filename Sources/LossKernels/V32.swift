/// Sixteen lanes of float32.
struct V32: Sixteen {
    var lanes: SIMD16<Float>
    typealias Bits = SIMD16<Int32>

    @inline(__always) static var bytes: Int { 4 }
    @inline(__always) init(lanes: SIMD16<Float>) { self.lanes = lanes }
    @inline(__always) static var positions: Self {
        Self(lanes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
    }
    @inline(__always) static func load(_ from: UnsafeRawPointer, _ index: Int) -> Self {
        Self(lanes: from.loadUnaligned(fromByteOffset: index &* 4, as: SIMD16<Float>.self))
    }
    @inline(__always) func store(_ to: UnsafeMutableRawPointer, _ index: Int) {
        to.storeBytes(of: lanes, toByteOffset: index &* 4, as: SIMD16<Float>.self)
    }
    @inline(__always) func addWidened(to sums: UnsafeMutablePointer<Double>) {
        let raw = UnsafeMutableRawPointer(sums)
        (V64.load(raw, 0) + wide).store(raw, 0)
    }
    // Naming the lanes is what becomes vector conversions.
    @inline(__always) var wide: V64 {
        V64(
            lanes: SIMD16<Double>(
                Double(lanes[0]), Double(lanes[1]), Double(lanes[2]), Double(lanes[3]),
                Double(lanes[4]), Double(lanes[5]), Double(lanes[6]), Double(lanes[7]),
                Double(lanes[8]), Double(lanes[9]), Double(lanes[10]), Double(lanes[11]),
                Double(lanes[12]), Double(lanes[13]), Double(lanes[14]), Double(lanes[15])))
    }
    @inline(__always) static func loadWide(_ from: UnsafeRawPointer, _ index: Int) -> V64 { load(from, index).wide }
    @inline(__always) init(narrowing wide: V64) {
        let lanes = wide.lanes
        self.lanes = SIMD16<Float>(
            Float(lanes[0]), Float(lanes[1]), Float(lanes[2]), Float(lanes[3]),
            Float(lanes[4]), Float(lanes[5]), Float(lanes[6]), Float(lanes[7]),
            Float(lanes[8]), Float(lanes[9]), Float(lanes[10]), Float(lanes[11]),
            Float(lanes[12]), Float(lanes[13]), Float(lanes[14]), Float(lanes[15]))
    }

    @inline(__always) init(_ value: Double) { lanes = SIMD16(repeating: Float(value)) }

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
    @inline(__always) init(bits: Bits) { lanes = unsafeBitCast(bits, to: SIMD16<Float>.self) }

    @inline(__always) func signed(like other: Self) -> Self { Self(bits: bits | (other.bits & Bits(repeating: .min))) }

    @inline(__always) var parts: (mantissa: Self, exponent: Self) {
        // Subnormals are lifted by 2^32 first. 0x3F3504F3 is √½: subtracting it puts the cut between octaves there.
        let subnormal = Self.less(self, Self(0x1p-126))
        let x = Self.select(subnormal, self * Self(0x1p32), self)
        let e = (x.bits &- Bits(repeating: 0x3F35_04F3)) &>> Bits(repeating: 23)
        let mantissa = Self(bits: x.bits &- (e &<< Bits(repeating: 23)))
        return (mantissa, Self(whole: e) - Self(32).keep(subnormal))
    }
    @inline(__always) func scaled(byPowerOfTwo n: Self) -> Self {
        let whole = n.asInt
        let half = whole &>> Bits(repeating: 1)
        return self * Self.powerOfTwo(half) * Self.powerOfTwo(whole &- half)
    }
    @inline(__always) static func powerOfTwo(_ n: Bits) -> Self {
        Self(bits: (n &+ Bits(repeating: 127)) &<< Bits(repeating: 23))
    }
    // Whole numbers within ±2^22: adding 1.5·2^23 leaves them in the low bits.
    @inline(__always) var asInt: Bits {
        (self + Self(0x1.8p23)).bits &- Bits(repeating: 0x4B40_0000)
    }
    @inline(__always) init(whole: Bits) {
        self = Self(bits: whole &+ Bits(repeating: 0x4B40_0000)) - Self(0x1.8p23)
    }

    @inline(__always) var order: Bits {
        let b = (self + Self(0)).bits
        let flipped = b ^ ((b &>> Bits(repeating: 31)) & Bits(repeating: .max))
        let number = Self.equal(self, self)
        return (flipped & number) | (Bits(repeating: .max) & ~number)
    }
    @inline(__always) static func storeBits(_ bits: Bits, _ to: UnsafeMutableRawPointer, _ index: Int) {
        to.storeBytes(of: bits, toByteOffset: index &* 4, as: Bits.self)
    }
    @inline(__always) static func key(_ orders: UnsafeRawPointer, _ index: Int) -> UInt64 {
        UInt64(orders.load(fromByteOffset: index &* 4, as: UInt32.self) ^ 0x8000_0000)
    }
    @inline(__always) static func value(ofKey key: UInt64) -> Double {
        let key = UInt32(truncatingIfNeeded: key)
        return Double(Float(bitPattern: key >> 31 == 1 ? key ^ 0x8000_0000 : ~key))
    }
    @inline(__always) static func orderGreater(_ a: Bits, _ b: Bits) -> Bits { unsafeBitCast(a .> b, to: Bits.self) }
    @inline(__always) static func orderEqual(_ a: Bits, _ b: Bits) -> Bits { unsafeBitCast(a .== b, to: Bits.self) }
    @inline(__always) static func heads(_ orders: Bits, above shift: Int) -> Bits {
        orders &>> Bits(repeating: Int32(truncatingIfNeeded: shift))
    }
    @inline(__always) static func head(_ prefix: UInt64, above shift: Int) -> Bits {
        // Orders are signed: half the range of the shifted keys lies between the two.
        let lowest = Int32.min &>> Int32(truncatingIfNeeded: shift)
        return Bits(repeating: Int32(truncatingIfNeeded: prefix) &+ lowest)
    }

    @inline(__always) static func loadBits(_ from: UnsafeRawPointer, _ index: Int) -> Bits {
        from.loadUnaligned(fromByteOffset: index &* 4, as: Bits.self)
    }
    @inline(__always) static func whole(_ n: Int) -> Bits { Bits(repeating: Int32(truncatingIfNeeded: n)) }
    @inline(__always) static func add(_ a: Bits, _ b: Bits) -> Bits { a &+ b }
    @inline(__always) static func subtract(_ a: Bits, _ b: Bits) -> Bits { a &- b }
    @inline(__always) static func select(_ mask: Bits, _ a: Bits, _ b: Bits) -> Bits { ((a ^ b) & mask) ^ b }
    @inline(__always) static func bit(_ n: Self) -> Bits { Bits(repeating: 1) &<< n.asInt }
    @inline(__always) static func scatter(
        _ codes: UnsafeRawPointer, _ g: UnsafeRawPointer, _ out: UnsafeMutableRawPointer, _ i: Int
    ) {
        let value = g.loadUnaligned(fromByteOffset: i &* 4, as: Float.self)
        if value == 0 { return }
        let at = (i &+ Int(codes.loadUnaligned(fromByteOffset: i &* 4, as: Int32.self))) &* 4
        out.storeBytes(
            of: out.loadUnaligned(fromByteOffset: at, as: Float.self) + value, toByteOffset: at, as: Float.self)
    }
    @inline(__always) static func put(
        _ values: UnsafeRawPointer, _ places: UnsafeRawPointer, _ pitch: Int, _ out: UnsafeMutableRawPointer, _ i: Int
    ) {
        let row = Int(places.loadUnaligned(fromByteOffset: i &* 4, as: Int32.self))
        out.storeBytes(
            of: values.loadUnaligned(fromByteOffset: i &* 4, as: Float.self), toByteOffset: row &* pitch &+ i &* 4,
            as: Float.self)
    }
    @inline(__always) static var half: Int { 0x3F00_0000 }
    @inline(__always) static var quiet: Int { 0x0040_0000 }

    @inline(__always) var inverseRootEstimate: Self {
        Self(bits: Bits(repeating: 0x5F37_5A86) &- (bits &>> Bits(repeating: 1)))
    }
    @inline(__always) static var rootSteps: Int { 3 }
    @inline(__always) static var logTerms: Int { 5 }
    @inline(__always) static var log1pTerms: Int { 7 }
    @inline(__always) static var expTerms: Int { 7 }
    @inline(__always) static var ln2: (high: Double, low: Double) { (0x1.62e4p-1, 0x1.7f7d1cf79abcap-20) }
    @inline(__always) static var expLimit: Double { 150 }
    @inline(__always) static var underflow: Double { 104 }
    @inline(__always) static var powerSum: Double { 0x1.8p23 + 127 + 65 }
    @inline(__always) static var unlift: Double { 0x1p-65 }
    @inline(__always) var powerOfSum: Self { Self(bits: bits &<< Bits(repeating: 23)) }
}
