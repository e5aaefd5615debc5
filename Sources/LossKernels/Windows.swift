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

/// Sixteen windows: the largest of each and, where codes are wanted, how far from the window's first element it stands.
private protocol Found {
    associatedtype V: Vector
    /// Of one element each.
    static func elements(_ values: In, _ i: Int) -> Self
    static func load(_ values: In, _ codes: In, _ i: Int) -> Self
    func store(_ values: Out, _ codes: Out, _ i: Int)
    /// With windows that come after these.
    func merged(_ next: Self) -> Self
    /// Counted from `count` elements before.
    func moved(_ count: Int) -> Self
}

private struct Plain<V: Vector, M: Merge>: Found {
    var value: V.Bits

    @inline(__always) static func elements(_ values: In, _ i: Int) -> Self { Self(value: V.loadBits(values, i)) }
    @inline(__always) static func load(_ values: In, _: In, _ i: Int) -> Self { elements(values, i) }
    @inline(__always) func store(_ values: Out, _: Out, _ i: Int) { V.storeBits(value, values, i) }
    @inline(__always) func merged(_ next: Self) -> Self { Self(value: M.merge(V.self, value, next.value)) }
    @inline(__always) func moved(_: Int) -> Self { self }
}

private struct Coded<V: Vector, M: Merge>: Found {
    var value, code: V.Bits

    @inline(__always) static func elements(_ values: In, _ i: Int) -> Self {
        Self(value: V.loadBits(values, i), code: V.whole(0))
    }
    @inline(__always) static func load(_ values: In, _ codes: In, _ i: Int) -> Self {
        Self(value: V.loadBits(values, i), code: V.loadBits(codes, i))
    }
    @inline(__always) func store(_ values: Out, _ codes: Out, _ i: Int) {
        V.storeBits(value, values, i)
        V.storeBits(code, codes, i)
    }
    @inline(__always) func merged(_ next: Self) -> Self {
        Self(
            value: M.merge(V.self, value, next.value),
            code: V.select(M.isSecond(V.self, value, next.value), next.code, code))
    }
    @inline(__always) func moved(_ count: Int) -> Self { Self(value: value, code: V.add(code, V.whole(count))) }
}

/// Windows of `size`, at least 8, from each of n elements of `line` on; codes count from `first`. Overwrites both lines, up to
/// n + size + 15 elements.
///
/// Four elements make windows of 4, and four of those one of up to 16. Sixteen of these, side by side, are columns of a
/// plane whose rows are 16 elements apart: there, as between the rows of a plane, blocks as long as a window give windows
/// of any number of rows, and one more window of 16 is the rest.
@inline(__always)
private func largeWindows<F: Found>(
    _: F.Type, _ line: Out, _ codeLine: Out, _ size: Int, _ first: Int, _ out: Out, _ codes: Out, _ n: Int
) {
    @inline(__always) func load(_ i: Int) -> F { F.load(In(line), In(codeLine), i) }
    // In place, since what comes later needs nothing from before.
    let end = (n &+ size &+ 15) & ~15
    var i = 0
    while i < end {
        let a = F.elements(In(line), i).merged(F.elements(In(line), i &+ 1).moved(1))
        let b = F.elements(In(line), i &+ 2).merged(F.elements(In(line), i &+ 3).moved(1))
        a.merged(b.moved(2)).store(line, codeLine, i)
        i &+= 16
    }
    @inline(__always) func ofFours(_ i: Int, _ size: Int) -> F {
        @inline(__always) func four(_ k: Int) -> F { load(i &+ k).moved(k) }
        return four(0).merged(four(4)).merged(four(Swift.min(8, size &- 4)).merged(four(size &- 4)))
    }
    if size <= 16 {
        i = 0
        while i < n {
            ofFours(i, size).moved(first).store(out, codes, i)
            i &+= 16
        }
        return
    }
    i = 0
    while i < end &- 16 {
        ofFours(i, 16).store(line, codeLine, i)
        i &+= 16
    }

    let length = size & ~15
    let last = length &- 16
    let rest = size &- 16
    @inline(__always) func put(_ found: F, _ i: Int) {
        found.merged(load(i &+ rest).moved(rest)).moved(first).store(out, codes, i)
    }
    var block = 0
    while block < n {
        // From each row to the end of the block.
        i = block &+ last
        var found = load(i)
        while i > block {
            if i < n { found.store(out, codes, i) }
            i &-= 16
            found = load(i).merged(found.moved(16))
        }
        put(found, block)
        // And from the start of the next one to the window's last row; counted from that start.
        let next = block &+ length
        let stop = Swift.min(next, n)
        found = load(next)
        i &+= 16
        while i < stop {
            found = found.merged(load(i &+ last).moved(i &+ last &- next))
            put(F.load(In(out), In(codes), i).merged(found.moved(next &- i)), i)
            i &+= 16
        }
        block = next
    }
}

/// Windows of 2·radius + 1 along a row. Codes: the offset of the first largest.
@inline(__always)
func rowWindow<V: Sixteen, M: Merge>(
    _: V.Type, _: M.Type, _ row: In, _ radius: Int, _ line: Out, _ codeLine: Out, _ out: Out, _ codes: Out?, _ n: Int
) {
    let size = 2 &* radius &+ 1
    let start = fill(V.self, line, row, margin(radius), M.outside, n) - radius &* V.bytes
    if size <= KERNEL_WINDOW {
        window(V.self, M.self, In(start), V.bytes, size, -radius, out, codes, n)
    } else if let codes {
        largeWindows(Coded<V, M>.self, start, codeLine, size, -radius, out, codes, n)
    } else {
        largeWindows(Plain<V, M>.self, start, start, size, -radius, out, out, n)
    }
}

/// Windows over `count` rows that lie `pitch` bytes apart. Codes: the row of the first largest, counted from `first`.
@inline(__always)
func columnWindow<V: Sixteen, M: Merge>(
    _: V.Type, _: M.Type, _ rows: In, _ pitch: Int, _ count: Int, _ first: Int, _ out: Out, _ codes: Out?, _ n: Int
) {
    window(V.self, M.self, rows, pitch, count, first, out, codes, n)
}

/// Of two windows, of which a comes first.
@inline(__always)
func merged<V: Sixteen, M: Merge>(
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
func fillWhole<V: Sixteen>(_: V.Type, _ value: Int, _ out: Out, _ n: Int) {
    var i = 0
    while i < n {
        V.storeBits(V.whole(value), out, i)
        i &+= 16
    }
}

// MARK: The way back

/// out[i] = Σ g over the windows, among those centred on `count` rows, whose largest is in row `row`.
@inline(__always)
func columnRoute<V: Sixteen>(
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
func rowRoute<V: Sixteen>(
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
func columnRuns<V: Sixteen>(
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
func columnRunsEnd<V: Sixteen>(_: V.Type, _ sums: In, _ places: In, _ row: Int, _ out: Out, _ n: Int) {
    let row = V.whole(row)
    map(out, n) { i in
        V.select(V.orderEqual(V.loadBits(places, i), row), V.load(sums, i), V.load(In(out), i))
    }
}

/// out[i + codes[i]] += g[i], one after the other.
@inline(__always)
func rowScatter<V: Sixteen>(_: V.Type, _ codes: In, _ g: In, _ out: Out, _ n: Int) {
    var i = 0
    while i < n {
        V.scatter(codes, g, out, i)
        i &+= 1
    }
}
