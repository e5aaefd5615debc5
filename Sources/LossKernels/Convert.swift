import KernelTable

// Element types other than the compute type are widened a block at a time into the L1 cache,
// and gradients narrowed from there; any stride, no alignment needed.

protocol Stored {
    static var bytes: Int { get }
    /// The element at a byte offset.
    static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float
    static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double
}

/// An element type that predictions have, and gradients are written in.
protocol Narrowed {
    static var bytes: Int { get }
    static func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ offset: Int)
    static func store(_ value: Double, _ to: UnsafeMutableRawPointer, _ offset: Int)
}

enum F32: Stored, Narrowed {
    @inline(__always) static var bytes: Int { 4 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        from.loadUnaligned(fromByteOffset: offset, as: Float.self)
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double { Double(f32(from, offset)) }
    @inline(__always) static func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        to.storeBytes(of: value, toByteOffset: offset, as: Float.self)
    }
    @inline(__always) static func store(_ value: Double, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        store(Float(value), to, offset)
    }
}

enum F64: Stored, Narrowed {
    @inline(__always) static var bytes: Int { 8 }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double {
        from.loadUnaligned(fromByteOffset: offset, as: Double.self)
    }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float { Float(f64(from, offset)) }
    @inline(__always) static func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        store(Double(value), to, offset)
    }
    @inline(__always) static func store(_ value: Double, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        to.storeBytes(of: value, toByteOffset: offset, as: Double.self)
    }
}

enum F16: Stored, Narrowed {
    @inline(__always) static var bytes: Int { 2 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        float32(ofHalf: from.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double { Double(f32(from, offset)) }
    @inline(__always) static func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        to.storeBytes(of: half(of: value), toByteOffset: offset, as: UInt16.self)
    }
    @inline(__always) static func store(_ value: Double, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        store(Float(value), to, offset)
    }
}

enum BF16: Stored, Narrowed {
    @inline(__always) static var bytes: Int { 2 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        Float(bitPattern: UInt32(from.loadUnaligned(fromByteOffset: offset, as: UInt16.self)) << 16)
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double { Double(f32(from, offset)) }
    @inline(__always) static func store(_ value: Float, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        // To nearest, ties to even; a NaN stays one whatever its low bits.
        let bits = value.bitPattern
        let rounded = bits &+ 0x7FFF &+ ((bits >> 16) & 1)
        let result = value == value ? rounded : bits | 0x0040_0000
        to.storeBytes(of: UInt16(truncatingIfNeeded: result >> 16), toByteOffset: offset, as: UInt16.self)
    }
    @inline(__always) static func store(_ value: Double, _ to: UnsafeMutableRawPointer, _ offset: Int) {
        store(Float(value), to, offset)
    }
}

enum U8: Stored {
    @inline(__always) static var bytes: Int { 1 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        Float(from.load(fromByteOffset: offset, as: UInt8.self))
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double {
        Double(from.load(fromByteOffset: offset, as: UInt8.self))
    }
}

enum I32: Stored {
    @inline(__always) static var bytes: Int { 4 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        Float(from.loadUnaligned(fromByteOffset: offset, as: Int32.self))
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double {
        Double(from.loadUnaligned(fromByteOffset: offset, as: Int32.self))
    }
}

enum I64: Stored {
    @inline(__always) static var bytes: Int { 8 }
    @inline(__always) static func f32(_ from: UnsafeRawPointer, _ offset: Int) -> Float {
        Float(from.loadUnaligned(fromByteOffset: offset, as: Int64.self))
    }
    @inline(__always) static func f64(_ from: UnsafeRawPointer, _ offset: Int) -> Double {
        Double(from.loadUnaligned(fromByteOffset: offset, as: Int64.self))
    }
}

/// body(element, its offset) of elements from `first` on. Strides up to 4, of coordinates and few channels, are
/// known to the compiler, which then takes the elements out of whole vectors.
@inline(__always)
private func each(_ first: Int, _ n: Int, _ stride: Int, _ bytes: Int, _ body: (Int, Int) -> Void) {
    @inline(__always) func loop(_ stride: Int) {
        var i = first
        while i < n {
            body(i, i &* stride &* bytes)
            i &+= 1
        }
    }
    switch stride {
    case 1: loop(1)
    case 2: loop(2)
    case 3: loop(3)
    case 4: loop(4)
    default: loop(stride)
    }
}

@inline(__always)
func widenToF32<S: Stored>(_: S.Type, _ from: In, _ stride: Int, _ to: Out, _ n: Int) {
    var i = 0
    if stride == 1 {
        while i &+ 16 <= n {
            let o = i &* S.bytes
            V32(
                lanes: SIMD16<Float>(
                    S.f32(from, o), S.f32(from, o &+ S.bytes), S.f32(from, o &+ 2 &* S.bytes),
                    S.f32(from, o &+ 3 &* S.bytes),
                    S.f32(from, o &+ 4 &* S.bytes), S.f32(from, o &+ 5 &* S.bytes), S.f32(from, o &+ 6 &* S.bytes),
                    S.f32(from, o &+ 7 &* S.bytes),
                    S.f32(from, o &+ 8 &* S.bytes), S.f32(from, o &+ 9 &* S.bytes), S.f32(from, o &+ 10 &* S.bytes),
                    S.f32(from, o &+ 11 &* S.bytes),
                    S.f32(from, o &+ 12 &* S.bytes), S.f32(from, o &+ 13 &* S.bytes), S.f32(from, o &+ 14 &* S.bytes),
                    S.f32(from, o &+ 15 &* S.bytes)
                )
            ).store(to, i)
            i &+= 16
        }
    }
    each(i, n, stride, S.bytes) { i, offset in F32.store(S.f32(from, offset), to, i &* 4) }
}

@inline(__always)
func widenToF64<S: Stored>(_: S.Type, _ from: In, _ stride: Int, _ to: Out, _ n: Int) {
    each(0, n, stride, S.bytes) { i, offset in F64.store(S.f64(from, offset), to, i &* 8) }
}

@inline(__always)
func narrowF32<S: Narrowed>(_: S.Type, _ from: In, _ to: Out, _ stride: Int, _ n: Int) {
    each(0, n, stride, S.bytes) { i, offset in S.store(F32.f32(from, i &* 4), to, offset) }
}

@inline(__always)
func narrowF64<S: Narrowed>(_: S.Type, _ from: In, _ to: Out, _ stride: Int, _ n: Int) {
    each(0, n, stride, S.bytes) { i, offset in S.store(F64.f64(from, i &* 8), to, offset) }
}
