import KernelTable

// The boundary loss, row by row.
//
// A number v in [0, 1] is kept as a key, a whole number that sorts as v does and holds both v and 1 − v with all their
// digits: the bits of v below ½, those of 1 counted down by the bits of 1 − v above. Windows compare keys, so that the
// difference of two nearly equal ones keeps its digits at either end. NaN sorts last.

extension Vector {
    @inline(__always) static var one: Int { 2 &* half }

    @inline(__always) static func key(_ v: Self, complement: Self) -> Bits {
        let key = select(less(v, Self(0.5)), v.bits, subtract(whole(one), complement.bits))
        // What counts down to a NaN. (Softmax gives 1 − p = 0 beside p = NaN for an infinite logit.)
        return select(equal(complement, complement), key, whole(one &+ quiet))
    }

    @inline(__always) static func isLow(_ key: Bits) -> Bits { orderGreater(whole(half), key) }

    /// The smaller of v and 1 − v: v where the key is low.
    @inline(__always) static func small(_ key: Bits, _ isLow: Bits) -> Self {
        Self(bits: select(isLow, key, subtract(whole(one), key)))
    }

    /// Keys of at least 0: those of elements that exist.
    @inline(__always) static func exists(_ key: Bits) -> Bits { orderGreater(key, whole(-1)) }
}

/// out[i] = body(i), in whole numbers.
@inline(__always)
private func mapBits<V: Vector>(_: V.Type, _ out: Out, _ n: Int, _ body: (Int) -> V.Bits) {
    var i = 0
    while i < n {
        V.storeBits(body(i), out, i)
        i &+= 16
    }
}

/// Columns from `count` on are outside.
@inline(__always)
private func cut<V: Vector>(_: V.Type, _ count: Int, _ out: Out, _ n: Int) {
    var i = count & ~15
    while i < n {
        V.storeBits(V.select(inside(V.self, i, count), V.loadBits(In(out), i), V.whole(-1)), out, i)
        i &+= 16
    }
}

/// Keys of v = 1 − p, of the first `count`; q is 1 − p, NULL if it is to be subtracted. Labels are NULL if none is ignored.
@inline(__always)
func boundaryKeys<V: Sixteen>(
    _: V.Type, _ p: In, _ q: In?, _ labels: In?, _ ignored: Double, _ count: Int, _ out: Out, _ n: Int
) {
    if let q {
        mapBits(V.self, out, n) { i in V.key(V.load(q, i), complement: V.load(p, i)) }
    } else {
        mapBits(V.self, out, n) { i in
            // −0 is 0.
            let p = V.load(p, i) + V(0)
            return V.key(V(1) - p, complement: p)
        }
    }
    if let labels {
        let ignored = V(ignored)
        mapBits(V.self, out, n) { i in
            V.select(V.equal(V.load(labels, i), ignored), V.whole(-1), V.loadBits(In(out), i))
        }
    }
    cut(V.self, count, out, n)
}

/// Keys of b = largest − v. The smaller of each and its complement say it: largest − v or v − largest between two at one end;
/// from end to end 1 − b is their sum.
@inline(__always)
func boundaryEdges<V: Sixteen>(_: V.Type, _ keys: In, _ largest: In, _ out: Out, _ n: Int) {
    mapBits(V.self, out, n) { i in
        let key = V.loadBits(keys, i)
        let top = V.loadBits(largest, i)
        let isLow = V.isLow(key)
        let isTopLow = V.isLow(top)
        let v = V.small(key, isLow)
        let t = V.small(top, isTopLow)
        let sum = v + t
        let b = V.select(V.and(isLow, V.not(isTopLow)), V(1) - sum, (t - v).magnitude)
        return V.select(V.exists(key), V.key(b, complement: sum), V.whole(-1))
    }
}

/// Labels as keys that sort up, and as keys that sort down.
@inline(__always)
func boundaryLabels<V: Sixteen>(
    _: V.Type, _ labels: In, _ ignored: Double, _ count: Int, _ up: Out, _ down: Out, _ n: Int
) {
    let ignored = V(ignored)
    let last = V(0x1p25).bits
    mapBits(V.self, up, n) { i in
        let label = V.load(labels, i)
        let isIgnored = V.equal(label, ignored)
        let key = label.bits
        V.storeBits(V.select(isIgnored, V.whole(-1), V.subtract(last, key)), down, i)
        return V.select(isIgnored, V.whole(-1), key)
    }
    cut(V.self, count, up, n)
    cut(V.self, count, down, n)
}

/// The label's key where its window holds another label, else −1: the inner boundaries of all classes.
@inline(__always)
func boundaryClasses<V: Sixteen>(
    _: V.Type, _ up: In, _ down: In, _ largestUp: In, _ largestDown: In, _ out: Out, _ n: Int
) {
    mapBits(V.self, out, n) { i in
        let key = V.loadBits(up, i)
        let same = V.and(
            V.orderEqual(key, V.loadBits(largestUp, i)),
            V.orderEqual(V.loadBits(down, i), V.loadBits(largestDown, i)))
        return V.select(same, V.whole(-1), key)
    }
}

/// A bit for each of the 32 classes from `first` on.
@inline(__always)
func boundaryBits<V: Sixteen>(_: V.Type, _ classes: In, _ first: Double, _ out: Out, _ n: Int) {
    let first = V(first)
    mapBits(V.self, out, n) { i in
        let key = V.loadBits(classes, i)
        let place = V(bits: key) - first
        let inside = V.and(V.exists(key), V.and(V.less(V(-1), place), V.less(place, V(32))))
        return V.and(V.bit(place), inside)
    }
}

@inline(__always)
private func isSet<V: Vector>(_: V.Type, _ bits: In, _ bit: V.Bits, _ i: Int) -> V.Bits {
    V.orderEqual(V.and(V.loadBits(bits, i), bit), bit)
}

/// out = 1 where the bit is set, else 0
@inline(__always)
func boundaryTruth<V: Vector>(_: V.Type, _ bits: In, _ bit: Int, _ out: Out, _ n: Int) {
    let bit = V.whole(1 &<< bit)
    map(out, n) { i in V(1).keep(isSet(V.self, bits, bit, i)) }
}

/// Of the prediction's boundary b: Σ b near the truth, Σ b elsewhere; of the truth: Σ of b's window there, Σ (1 − it).
@inline(__always)
func boundarySums<V: Vector & Terms>(
    _: V.Type, _ edges: In, _ near: In, _ truth: In, _ nearTruth: In, _ bit: Int, _ n: Int, _ sums: Sums
) {
    let bit = V.whole(1 &<< bit)
    sum(n, sums) { i in
        let key = V.loadBits(edges, i)
        let isLow = V.isLow(key)
        let v = V.small(key, isLow)
        let b = V.select(isLow, v, V(1) - v).keep(V.exists(key))
        let isNear = isSet(V.self, nearTruth, bit, i)
        let near = V.loadBits(near, i)
        let isNearLow = V.isLow(near)
        let small = V.small(near, isNearLow)
        let isTrue = isSet(V.self, truth, bit, i)
        let value = small.keep(isTrue)
        let rest = (V(1) - small).keep(isTrue)
        return Four(
            Two(b.keep(isNear), b.keep(V.not(isNear))),
            Two(V.select(isNearLow, value, rest), V.select(isNearLow, rest, value)))
    }
}

/// dL/db = (near ? a : c) + r·routed, 0 where b's largest is its own centre: there it goes both ways.
@inline(__always)
func boundaryEdgeGradient<V: Vector>(
    _: V.Type, _ keys: In, _ routed: In, _ nearTruth: In, _ bit: Int, _ rowCodes: In, _ columnCodes: In, _ row: Int,
    _ a: Double, _ c: Double, _ r: Double, _ out: Out, _ n: Int
) {
    let bit = V.whole(1 &<< bit)
    let row = V.whole(row)
    let zero = V.whole(0)
    let (a, c, r) = (V(a), V(c), V(r))
    map(out, n) { i in
        let isOwn = V.and(
            V.orderEqual(V.loadBits(columnCodes, i), row), V.orderEqual(V.loadBits(rowCodes, i), zero))
        let g = V.select(isSet(V.self, nearTruth, bit, i), a, c).fma(r, V.load(routed, i))
        return g.keep(V.and(V.exists(V.loadBits(keys, i)), V.not(isOwn)))
    }
}
