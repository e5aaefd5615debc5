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

// MARK: Columns side by side, as channels that come last

/// Eight rows of eight lanes.
private typealias Tile = (
    SIMD8<Float>, SIMD8<Float>, SIMD8<Float>, SIMD8<Float>, SIMD8<Float>, SIMD8<Float>, SIMD8<Float>, SIMD8<Float>
)

/// Lanes of rows i and i + 4 by turns: of a lane's place, three bits of the row and three of the column, the row's first comes
/// last. Three times over, rows are columns.
@inline(__always)
private func shuffled(_ t: Tile) -> Tile {
    @inline(__always) func low(_ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
        SIMD8(a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3])
    }
    @inline(__always) func high(_ a: SIMD8<Float>, _ b: SIMD8<Float>) -> SIMD8<Float> {
        SIMD8(a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7])
    }
    return (
        low(t.0, t.4), high(t.0, t.4), low(t.1, t.5), high(t.1, t.5),
        low(t.2, t.6), high(t.2, t.6), low(t.3, t.7), high(t.3, t.7)
    )
}

@inline(__always)
private func transposed(_ t: Tile) -> Tile { shuffled(shuffled(shuffled(t))) }

/// Calls tile(row, column) for tiles of eight rows and up to eight columns, and element(row, column) for what is left of the
/// rows from `whole` on. Of more than eight columns the last eight overlap those before; a few rows at a time stay in the cache.
@inline(__always)
private func tiles(
    _ n: Int, _ columns: Int, whole: Int, _ tile: (Int, Int) -> Void, _ element: (Int, Int) -> Void
) {
    var first = 0
    while first < n {
        let end = min(first &+ 128, n)
        var c = 0
        while c < columns {
            let column = max(0, min(c, columns &- 8))
            var i = first
            while i &+ 8 <= min(end, whole) {
                tile(i, column)
                i &+= 8
            }
            while i < end {
                var k = column
                while k < min(column &+ 8, columns) {
                    element(i, k)
                    k &+= 1
                }
                i &+= 1
            }
            c &+= 8
        }
        first = end
    }
}

/// How many of n rows have eight elements from the first on, where the last has so many columns.
@inline(__always)
private func wholeRows(_ n: Int, _ stride: Int, _ columns: Int) -> Int {
    columns >= 8 ? n : max(0, n &- (8 &- columns &+ stride &- 1) / stride)
}

@inline(__always)
func widenColumns<S: Stored>(
    _: S.Type, _ from: In, _ stride: Int, _ columns: Int, _ to: Out, _ pitch: Int, _ n: Int
) {
    tiles(n, columns, whole: wholeRows(n, stride, columns)) { i, column in
        @inline(__always) func row(_ k: Int) -> SIMD8<Float> {
            let o = ((i &+ k) &* stride &+ column) &* S.bytes
            return SIMD8(
                S.f32(from, o), S.f32(from, o &+ S.bytes), S.f32(from, o &+ 2 &* S.bytes), S.f32(from, o &+ 3 &* S.bytes),
                S.f32(from, o &+ 4 &* S.bytes), S.f32(from, o &+ 5 &* S.bytes), S.f32(from, o &+ 6 &* S.bytes),
                S.f32(from, o &+ 7 &* S.bytes))
        }
        let t = transposed((row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)))
        @inline(__always) func store(_ values: SIMD8<Float>, _ k: Int) {
            to.storeBytes(of: values, toByteOffset: (column &+ k) &* pitch &+ i &* 4, as: SIMD8<Float>.self)
        }
        store(t.0, 0)
        store(t.1, 1)
        store(t.2, 2)
        store(t.3, 3)
        store(t.4, 4)
        if columns > 5 { store(t.5, 5) }
        if columns > 6 { store(t.6, 6) }
        if columns > 7 { store(t.7, 7) }
    } _: { i, k in
        F32.store(S.f32(from, (i &* stride &+ k) &* S.bytes), to, k &* pitch &+ i &* 4)
    }
}

/// Of fewer than eight columns a row's eight elements run into the next rows, which are written later; so they have to be
/// these columns' own.
@inline(__always)
func narrowColumns<S: Narrowed>(
    _: S.Type, _ from: In, _ pitch: Int, _ to: Out, _ stride: Int, _ columns: Int, _ n: Int
) {
    let whole = columns >= 8 || stride == columns ? wholeRows(n, stride, columns) : 0
    tiles(n, columns, whole: whole) { i, column in
        @inline(__always) func load(_ k: Int) -> SIMD8<Float> {
            // What is in place of columns that there are not is written over.
            let k = min(column &+ k, columns &- 1)
            return from.loadUnaligned(fromByteOffset: k &* pitch &+ i &* 4, as: SIMD8<Float>.self)
        }
        let t = transposed((load(0), load(1), load(2), load(3), load(4), load(5), load(6), load(7)))
        @inline(__always) func store(_ values: SIMD8<Float>, _ k: Int) {
            let o = ((i &+ k) &* stride &+ column) &* S.bytes
            S.store(values[0], to, o)
            S.store(values[1], to, o &+ S.bytes)
            S.store(values[2], to, o &+ 2 &* S.bytes)
            S.store(values[3], to, o &+ 3 &* S.bytes)
            S.store(values[4], to, o &+ 4 &* S.bytes)
            S.store(values[5], to, o &+ 5 &* S.bytes)
            S.store(values[6], to, o &+ 6 &* S.bytes)
            S.store(values[7], to, o &+ 7 &* S.bytes)
        }
        store(t.0, 0)
        store(t.1, 1)
        store(t.2, 2)
        store(t.3, 3)
        store(t.4, 4)
        store(t.5, 5)
        store(t.6, 6)
        store(t.7, 7)
    } _: { i, k in
        S.store(F32.f32(from, k &* pitch &+ i &* 4), to, (i &* stride &+ k) &* S.bytes)
    }
}
