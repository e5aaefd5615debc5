import KernelTable

// The largest of a window around each element, and the way back from each window to where its largest stands.
//
// Windows are taken along rows first, then along columns; of equal ones the first counts, which in two steps is the
// first in row-major order. Elements are whole numbers ("keys") of at least 0; −1 stands for what is outside and never wins.

/// What a window makes of its elements: of `a`, which comes first, and `b`.
protocol Merge {
    static var outside: Int { get }
    static func isSecond<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits
    static func merge<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits
}

enum Largest: Merge {
    @inline(__always) static var outside: Int { -1 }
    @inline(__always) static func isSecond<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits {
        V.orderGreater(b, a)
    }
    @inline(__always) static func merge<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits {
        V.select(V.orderGreater(b, a), b, a)
    }
}

/// All the bits that are set in the window.
enum Union: Merge {
    @inline(__always) static var outside: Int { 0 }
    @inline(__always) static func isSecond<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits { a }
    @inline(__always) static func merge<V: Vector>(_: V.Type, _ a: V.Bits, _ b: V.Bits) -> V.Bits { V.or(a, b) }
}

/// Windows of 3 and 5, which nearly everyone uses, with a count that the compiler knows.
@inline(__always)
private func unrolled(_ count: Int, _ body: (Int) -> Void) {
    switch count {
    case 3: body(3)
    case 5: body(5)
    default: body(count)
    }
}

/// A window of `count` elements from i on, each `step` bytes after the one before; codes count from `first`.
@inline(__always)
private func window<V: Vector, M: Merge>(
    _: V.Type, _: M.Type, _ from: In, _ step: Int, _ count: Int, _ first: Int, _ out: Out, _ codes: Out?, _ n: Int
) {
    unrolled(count) { count in
        if let codes {
            var i = 0
            while i < n {
                var row = from
                var best = V.loadBits(row, i)
                var code = V.whole(first)
                var k = 1
                while k < count {
                    row += step
                    let next = V.loadBits(row, i)
                    code = V.select(M.isSecond(V.self, best, next), V.whole(first &+ k), code)
                    best = M.merge(V.self, best, next)
                    k &+= 1
                }
                V.storeBits(best, out, i)
                V.storeBits(code, codes, i)
                i &+= 16
            }
        } else {
            var i = 0
            while i < n {
                var row = from
                var best = V.loadBits(row, i)
                var k = 1
                while k < count {
                    row += step
                    best = M.merge(V.self, best, V.loadBits(row, i))
                    k &+= 1
                }
                V.storeBits(best, out, i)
                i &+= 16
            }
        }
    }
}

/// A row between margins, so that windows may reach over its ends. Returns where the row's element 0 is.
@inline(__always)
private func fill<V: Vector>(_: V.Type, _ line: Out, _ row: In, _ margin: Int, _ outside: Int, _ n: Int) -> Out {
    let start = line + margin &* V.bytes
    let outside = V.whole(outside)
    var i = 0
    while i < margin {
        V.storeBits(outside, line, i)
        i &+= 16
    }
    i = 0
    while i < n {
        V.storeBits(V.loadBits(row, i), start, i)
        i &+= 16
    }
    let end = n &+ margin &+ 16
    while i < end {
        V.storeBits(outside, start, i)
        i &+= 16
    }
    return start
}

@inline(__always)
private func margin(_ radius: Int) -> Int { (radius &+ 15) & ~15 }

/// Windows of 2·radius + 1 along a row. Codes: the offset of the first largest. Large windows double: of 1, 2, 4 …
@inline(__always)
func rowWindow<V: Vector, M: Merge>(
    _: V.Type, _: M.Type, _ row: In, _ radius: Int, _ line: Out, _ codeLine: Out, _ out: Out, _ codes: Out?, _ n: Int
) {
    let size = 2 &* radius &+ 1
    let margin = margin(radius)
    let start = fill(V.self, line, row, margin, M.outside, n) - radius &* V.bytes
    if size <= KERNEL_WINDOW {
        window(V.self, M.self, In(start), V.bytes, size, -radius, out, codes, n)
        return
    }
    // In place: element i becomes the window from i on, with its code counted from i.
    var width = 1
    if codes != nil {
        var i = 0
        while i < n &+ 2 &* margin &+ 32 {
            V.storeBits(V.whole(0), codeLine, i)
            i &+= 16
        }
    }
    while 2 &* width <= size {
        let end = n &+ 2 &* margin &- width
        let w = V.whole(width)
        var i = 0
        while i < end {
            let a = V.loadBits(In(line), i)
            let b = V.loadBits(In(line), i &+ width)
            if codes != nil {
                let second = V.add(V.loadBits(In(codeLine), i &+ width), w)
                V.storeBits(
                    V.select(M.isSecond(V.self, a, b), second, V.loadBits(In(codeLine), i)), codeLine, i)
            }
            V.storeBits(M.merge(V.self, a, b), line, i)
            i &+= 16
        }
        width &*= 2
    }
    let shift = size &- width
    let first = V.whole(-radius)
    let second = V.whole(shift &- radius)
    let codeStart = codeLine + (margin &- radius) &* V.bytes
    var i = 0
    while i < n {
        let a = V.loadBits(In(start), i)
        let b = V.loadBits(In(start), i &+ shift)
        if let codes {
            V.storeBits(
                V.select(
                    M.isSecond(V.self, a, b), V.add(V.loadBits(In(codeStart), i &+ shift), second),
                    V.add(V.loadBits(In(codeStart), i), first)), codes, i)
        }
        V.storeBits(M.merge(V.self, a, b), out, i)
        i &+= 16
    }
}

/// Windows over `count` rows that lie `pitch` bytes apart. Codes: the row of the first largest, counted from `first`.
@inline(__always)
func columnWindow<V: Vector, M: Merge>(
    _: V.Type, _: M.Type, _ rows: In, _ pitch: Int, _ count: Int, _ first: Int, _ out: Out, _ codes: Out?, _ n: Int
) {
    window(V.self, M.self, rows, pitch, count, first, out, codes, n)
}

/// Of two windows, of which a comes first.
@inline(__always)
func merged<V: Vector, M: Merge>(
    _: V.Type, _: M.Type, _ a: In, _ aCodes: In?, _ b: In, _ bCodes: In?, _ out: Out, _ codes: Out?, _ n: Int
) {
    var i = 0
    while i < n {
        let x = V.loadBits(a, i)
        let y = V.loadBits(b, i)
        if let codes, let aCodes, let bCodes {
            V.storeBits(
                V.select(M.isSecond(V.self, x, y), V.loadBits(bCodes, i), V.loadBits(aCodes, i)), codes, i)
        }
        V.storeBits(M.merge(V.self, x, y), out, i)
        i &+= 16
    }
}

@inline(__always)
func fillWhole<V: Vector>(_: V.Type, _ value: Int, _ out: Out, _ n: Int) {
    var i = 0
    while i < n {
        V.storeBits(V.whole(value), out, i)
        i &+= 16
    }
}

// MARK: The way back

/// out[i] = Σ g over the windows, among those centred on `count` rows, whose largest is in row `row`.
@inline(__always)
func columnRoute<V: Vector>(
    _: V.Type, _ codes: In, _ g: In, _ pitch: Int, _ count: Int, _ row: Int, _ out: Out, _ n: Int
) {
    let row = V.whole(row)
    unrolled(count) { count in
        var i = 0
        while i < n {
            var total = V(0)
            var code = codes
            var value = g
            var k = 0
            while k < count {
                total = total + V.load(value, i).keep(V.orderEqual(V.loadBits(code, i), row))
                code += pitch
                value += pitch
                k &+= 1
            }
            total.store(out, i)
            i &+= 16
        }
    }
}

/// out[i] = Σ g over the windows of 2·radius + 1 along a row whose largest is element i.
@inline(__always)
func rowRoute<V: Vector>(
    _: V.Type, _ codes: In, _ g: In, _ radius: Int, _ line: Out, _ codeLine: Out, _ out: Out, _ n: Int
) {
    let margin = margin(radius)
    // Outside the row g is 0.
    let value = In(fill(V.self, line, g, margin, 0, n))
    let code = In(fill(V.self, codeLine, codes, margin, 0, n))
    unrolled(2 &* radius &+ 1) { size in
        let radius = size / 2
        var i = 0
        while i < n {
            var total = V(0)
            var k = -radius
            while k <= radius {
                total = total + V.load(value, i &+ k).keep(V.orderEqual(V.loadBits(code, i &+ k), V.whole(-k)))
                k &+= 1
            }
            total.store(out, i)
            i &+= 16
        }
    }
}

// Large windows. Where g is 0 nothing is done, so that only codes of windows that there are count.

/// A row of windows: g adds to `sums`, which belong to the rows `places` of `out`, `pitch` bytes apart. Down a column the
/// windows whose largest is one and the same follow each other (the first of the largest never moves back), so that a sum
/// goes to its place once: when the next one begins.
@inline(__always)
func columnRuns<V: Vector>(
    _: V.Type, _ codes: In, _ g: In, _ sums: Out, _ places: Out, _ out: Out, _ pitch: Int, _ n: Int
) {
    var i = 0
    while i < n {
        let g = V.load(g, i)
        let counts = V.not(V.equal(g, V(0)))
        if V.any(counts) {
            let code = V.loadBits(codes, i)
            let place = V.loadBits(In(places), i)
            let isNew = V.and(counts, V.not(V.orderEqual(code, place)))
            if V.any(isNew) {
                // All sixteen, without a branch for each: of a run that goes on this is not the last word.
                var j = i
                while j < i &+ 16 {
                    V.put(sums, places, pitch, out, j)
                    j &+= 1
                }
            }
            (V.load(In(sums), i).keep(V.not(isNew)) + g).store(sums, i)
            V.storeBits(V.select(isNew, code, place), places, i)
        }
        i &+= 16
    }
}

/// Row `row` of what comes from there, once no window can add to it any more.
@inline(__always)
func columnRunsEnd<V: Vector>(_: V.Type, _ sums: In, _ places: In, _ row: Int, _ out: Out, _ n: Int) {
    let row = V.whole(row)
    map(out, n) { i in
        V.select(V.orderEqual(V.loadBits(places, i), row), V.load(sums, i), V.load(In(out), i))
    }
}

/// out[i + codes[i]] += g[i], one after the other.
@inline(__always)
func rowScatter<V: Vector>(_: V.Type, _ codes: In, _ g: In, _ out: Out, _ n: Int) {
    var i = 0
    while i < n {
        V.scatter(codes, g, out, i)
        i &+= 1
    }
}
