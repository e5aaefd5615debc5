import Builtin

// What the vector levels have an instruction for, and baseline x86-64 makes of others, to the same bits: fused multiply-add,
// rounding to whole numbers, float16. (A library's functions would take each lane by itself.)
//
// Arithmetic of the vector levels is the compiler's own on whole vectors (Builtin): the standard library's takes one lane after
// the other, and what the compiler makes of that again is not always a vector, nor leaves it series as constants.
#if AVX2 || AVX512 || arch(arm64)
    extension V32 {
        private typealias Raw = Builtin.Vec16xFPIEEE32
        @inline(__always) private var raw: Raw { unsafeBitCast(lanes, to: Raw.self) }
        @inline(__always) private init(_ raw: Raw) { lanes = unsafeBitCast(raw, to: SIMD16<Float>.self) }
        @inline(__always) static func + (a: Self, b: Self) -> Self {
            Self(Builtin.fadd_Vec16xFPIEEE32(a.raw, b.raw))
        }
        @inline(__always) static func - (a: Self, b: Self) -> Self {
            Self(Builtin.fsub_Vec16xFPIEEE32(a.raw, b.raw))
        }
        @inline(__always) static func * (a: Self, b: Self) -> Self {
            Self(Builtin.fmul_Vec16xFPIEEE32(a.raw, b.raw))
        }
        @inline(__always) static func / (a: Self, b: Self) -> Self {
            Self(Builtin.fdiv_Vec16xFPIEEE32(a.raw, b.raw))
        }
        @inline(__always) func fma(_ a: Self, _ b: Self) -> Self {
            Self(Builtin.int_fma_Vec16xFPIEEE32(a.raw, b.raw, raw))
        }
        @inline(__always) var magnitude: Self { Self(Builtin.int_fabs_Vec16xFPIEEE32(raw)) }
        @inline(__always) func rounded() -> Self { Self(Builtin.int_roundeven_Vec16xFPIEEE32(raw)) }
        @inline(__always) func truncated() -> Self { Self(Builtin.int_trunc_Vec16xFPIEEE32(raw)) }
    }
    extension V64 {
        private typealias Raw = Builtin.Vec16xFPIEEE64
        @inline(__always) private var raw: Raw { unsafeBitCast(lanes, to: Raw.self) }
        @inline(__always) private init(_ raw: Raw) { lanes = unsafeBitCast(raw, to: SIMD16<Double>.self) }
        @inline(__always) static func + (a: Self, b: Self) -> Self {
            Self(Builtin.fadd_Vec16xFPIEEE64(a.raw, b.raw))
        }
        @inline(__always) static func - (a: Self, b: Self) -> Self {
            Self(Builtin.fsub_Vec16xFPIEEE64(a.raw, b.raw))
        }
        @inline(__always) static func * (a: Self, b: Self) -> Self {
            Self(Builtin.fmul_Vec16xFPIEEE64(a.raw, b.raw))
        }
        @inline(__always) static func / (a: Self, b: Self) -> Self {
            Self(Builtin.fdiv_Vec16xFPIEEE64(a.raw, b.raw))
        }
        @inline(__always) func fma(_ a: Self, _ b: Self) -> Self {
            Self(Builtin.int_fma_Vec16xFPIEEE64(a.raw, b.raw, raw))
        }
        @inline(__always) var magnitude: Self { Self(Builtin.int_fabs_Vec16xFPIEEE64(raw)) }
        @inline(__always) func rounded() -> Self { Self(Builtin.int_roundeven_Vec16xFPIEEE64(raw)) }
        @inline(__always) func truncated() -> Self { Self(Builtin.int_trunc_Vec16xFPIEEE64(raw)) }
    }
    @inline(__always) func float32(ofHalf bits: UInt16) -> Float { Float(Float16(bitPattern: bits)) }
    @inline(__always) func half(of value: Float) -> UInt16 { Float16(value).bitPattern }
#else
    // Out of line, since there are many in each kernel.
    extension V32 {
        @inline(__always) static func + (a: Self, b: Self) -> Self { Self(lanes: a.lanes + b.lanes) }
        @inline(__always) static func - (a: Self, b: Self) -> Self { Self(lanes: a.lanes - b.lanes) }
        @inline(__always) static func * (a: Self, b: Self) -> Self { Self(lanes: a.lanes * b.lanes) }
        @inline(__always) static func / (a: Self, b: Self) -> Self { Self(lanes: a.lanes / b.lanes) }
        @inline(never) func fma(_ a: Self, _ b: Self) -> Self { Self(lanes: byFours(lanes, a.lanes, b.lanes, fused)) }
        @inline(__always) var magnitude: Self { Self(bits: bits & Bits(repeating: .max)) }
        @inline(__always) func rounded() -> Self { nearestWhole(self, allWholeFrom: 0x1p23) }
        @inline(__always) func truncated() -> Self { truncatedWhole(self, allWholeFrom: 0x1p23) }
    }
    extension V64 {
        @inline(__always) static func + (a: Self, b: Self) -> Self { Self(lanes: a.lanes + b.lanes) }
        @inline(__always) static func - (a: Self, b: Self) -> Self { Self(lanes: a.lanes - b.lanes) }
        @inline(__always) static func * (a: Self, b: Self) -> Self { Self(lanes: a.lanes * b.lanes) }
        @inline(__always) static func / (a: Self, b: Self) -> Self { Self(lanes: a.lanes / b.lanes) }
        /// libm's where the parts of a product could over- or underflow.
        @inline(never) func fma(_ a: Self, _ b: Self) -> Self {
            let product = a * b
            // What a product lacks is a multiple of 2^-106 times itself, and the smallest number is 2^-1074; splitting
            // multiplies by 2^27. (NaN is not less.)
            let isExact = V64.or(
                V64.or(V64.equal(a, V64(0)), V64.equal(b, V64(0))),
                V64.not(V64.less(product.magnitude, V64(0x1p-900))))
            let largest = V64(0x1p900)
            let isSmall = V64.and(
                V64.and(V64.less(a.magnitude, largest), V64.less(b.magnitude, largest)),
                V64.and(V64.less(product.magnitude, largest), V64.less(magnitude, largest)))
            if V64.any(V64.not(V64.and(isExact, isSmall))) {
                return Self(lanes: lanes.addingProduct(a.lanes, b.lanes))
            }
            return Self(lanes: byFours(lanes, a.lanes, b.lanes, fused))
        }
        @inline(__always) var magnitude: Self { Self(bits: bits & Bits(repeating: .max)) }
        @inline(__always) func rounded() -> Self { nearestWhole(self, allWholeFrom: 0x1p52) }
        @inline(__always) func truncated() -> Self { truncatedWhole(self, allWholeFrom: 0x1p52) }
    }

    /// The product is exact in float64.
    @inline(__always)
    func fused(_ sum: SIMD4<Float>, _ a: SIMD4<Float>, _ b: SIMD4<Float>) -> SIMD4<Float> {
        let exact = oddSum(float64(a) * float64(b), float64(sum))
        return SIMD4(Float(exact[0]), Float(exact[1]), Float(exact[2]), Float(exact[3]))
    }

    /// Product and sums in two numbers each (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums: proved
    /// algorithms using rounding to odd", IEEE Transactions on Computers 57, 2008).
    @inline(__always)
    func fused(_ sum: SIMD4<Double>, _ a: SIMD4<Double>, _ b: SIMD4<Double>) -> SIMD4<Double> {
        let product = exactProduct(a, b)
        let low = exactSum(sum, product.low)
        let high = exactSum(product.high, low.high)
        let result = high.high + oddSum(low.low, high.low)
        // Where it is 0 the plain sum is exact, and has the sign.
        return result.replacing(with: product.high + sum, where: result .== 0)
    }

    /// Four lanes at a time, whose numbers fit into sixteen registers.
    @inline(__always)
    func byFours<T>(
        _ x: SIMD16<T>, _ y: SIMD16<T>, _ z: SIMD16<T>, _ f: (SIMD4<T>, SIMD4<T>, SIMD4<T>) -> SIMD4<T>
    ) -> SIMD16<T> {
        SIMD16(
            lowHalf: SIMD8(
                lowHalf: f(x.lowHalf.lowHalf, y.lowHalf.lowHalf, z.lowHalf.lowHalf),
                highHalf: f(x.lowHalf.highHalf, y.lowHalf.highHalf, z.lowHalf.highHalf)),
            highHalf: SIMD8(
                lowHalf: f(x.highHalf.lowHalf, y.highHalf.lowHalf, z.highHalf.lowHalf),
                highHalf: f(x.highHalf.highHalf, y.highHalf.highHalf, z.highHalf.highHalf)))
    }

    @inline(__always) func float64(_ x: SIMD4<Float>) -> SIMD4<Double> {
        SIMD4(Double(x[0]), Double(x[1]), Double(x[2]), Double(x[3]))
    }

    /// The rounded sum, and what it lacks (Knuth).
    @inline(__always)
    func exactSum(_ a: SIMD4<Double>, _ b: SIMD4<Double>) -> (high: SIMD4<Double>, low: SIMD4<Double>) {
        let sum = a + b
        let part = sum - a
        return (sum, (a - (sum - part)) + (b - part))
    }

    /// The rounded product, and what it lacks (Dekker).
    @inline(__always)
    func exactProduct(_ a: SIMD4<Double>, _ b: SIMD4<Double>) -> (high: SIMD4<Double>, low: SIMD4<Double>) {
        func halves(_ x: SIMD4<Double>) -> (SIMD4<Double>, SIMD4<Double>) {
            let scaled = x * (0x1p27 + 1)
            let high = scaled - (scaled - x)
            return (high, x - high)
        }
        let product = a * b
        let (a1, a0) = halves(a)
        let (b1, b0) = halves(b)
        return (product, a0 * b0 - (((product - a1 * b1) - a0 * b1) - a1 * b0))
    }

    /// The sum, rounded to odd: unless it is exact, of the two numbers around it the one whose last bit is set. That is never
    /// the middle of two shorter numbers, so rounding it again gives what rounding the exact sum would.
    @inline(__always)
    func oddSum(_ a: SIMD4<Double>, _ b: SIMD4<Double>) -> SIMD4<Double> {
        typealias Bits = SIMD4<Int64>
        let (sum, rest) = exactSum(a, b)
        let bits = unsafeBitCast(sum, to: Bits.self)
        // (The rest of what is infinite or NaN is NaN, and neither.)
        let isRounded = unsafeBitCast(rest .< 0, to: Bits.self) | unsafeBitCast(rest .> 0, to: Bits.self)
        let isEven = (bits & 1) &- 1
        let outwards = ((bits ^ unsafeBitCast(rest, to: Bits.self)) &>> 63) | 1  // 1, or −1 towards 0
        return unsafeBitCast(bits &+ (outwards & isRounded & isEven), to: SIMD4<Double>.self)
    }

    /// The nearest whole number, of two the even one: adding what has no digits behind the point rounds.
    @inline(__always)
    func nearestWhole<V: Vector>(_ x: V, allWholeFrom limit: Double) -> V {
        let nearest = (x.magnitude + V(limit)) - V(limit)
        return V.select(V.less(x.magnitude, V(limit)), nearest.signed(like: x), x + V(0))
    }
    @inline(__always)
    func truncatedWhole<V: Vector>(_ x: V, allWholeFrom limit: Double) -> V {
        let nearest = nearestWhole(x.magnitude, allWholeFrom: limit)
        return (nearest - V(1).keep(V.less(x.magnitude, nearest))).signed(like: x)
    }

    @inline(__always)
    func float32(ofHalf bits: UInt16) -> Float {
        let number = UInt32(bits & 0x7FFF) << 13
        // Exponents are 112 apart, and as much again for infinity and NaN. A subnormal is what stands behind the point of 2^-14.
        let normal = number &+ 112 << 23
        let subnormal = (Float(bitPattern: number &+ 113 << 23) - 0x1p-14).bitPattern
        let quiet: UInt32 = number > 0x7C00 << 13 ? 0x0040_0000 : 0
        let finite = number < 0x0400 << 13 ? subnormal : normal
        let result = number < 0x7C00 << 13 ? finite : (normal &+ 112 << 23) | quiet
        return Float(bitPattern: result | UInt32(bits & 0x8000) << 16)
    }

    @inline(__always)
    func half(of value: Float) -> UInt16 {
        let number = value.bitPattern & 0x7FFF_FFFF
        // To nearest, ties to even. The last digit of numbers from 0.5 to 1 is the smallest float16.
        let normal = (number &- 112 << 23 &+ 0xFFF &+ (number >> 13 & 1)) >> 13
        let subnormal = (Float(bitPattern: number) + 0.5).bitPattern &- 0x3F00_0000
        let finite = number < 113 << 23 ? subnormal : normal
        let nan = 0x7E00 | (number >> 13 & 0x3FF)
        let result = number > 0x7F80_0000 ? nan : number < 0x477F_F000 ? finite : 0x7C00  // 65520 and more are infinite
        return UInt16(truncatingIfNeeded: result | (value.bitPattern >> 16 & 0x8000))
    }
#endif
