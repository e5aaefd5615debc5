import KernelTable

// Softmax over the classes of each position: class c's block lies in plane c.

/// e^(x − max) of each class, and their sum less the largest one's 1: what is small where one class is certain.
@inline(__always)
private func rest<V: Vector>(_ x: Planes, _ classes: Int, _ i: Int, _ top: V, _ each: (Int, V, V.Bits) -> Void) -> V {
    var rest = V(0)
    var seen = V.not(V.equal(V(0), V(0)))
    var c = 0
    while c < classes {
        let x = V.load(x[c], i)
        // The first of the largest is the one left out.
        let isTop = V.and(V.equal(x, top), V.not(seen))
        seen = V.or(seen, isTop)
        let e = (x - top).expOfNegative()
        rest = rest + e.keep(V.not(isTop))
        each(c, e, isTop)
        c &+= 1
    }
    return rest
}

@inline(__always)
private func top<V: Vector>(_: V.Type, _ x: Planes, _ classes: Int, _ i: Int) -> V {
    var top = V.load(x[0], i)
    var c = 1
    while c < classes {
        top = V.max(top, V.load(x[c], i))
        c &+= 1
    }
    return top
}

/// p and 1 − p, each with all its digits.
@inline(__always)
func softmax<V: Vector>(_: V.Type, _ x: Planes, _ classes: Int, _ p: Out, _ q: Out, _ pitch: Int, _ n: Int) {
    var i = 0
    while i < n {
        let rest = rest(x, classes, i, top(V.self, x, classes, i)) { c, e, isTop in
            e.store(p + c &* pitch, i)
            V(1).keep(isTop).store(q + c &* pitch, i)
        }
        let total = V(1) + rest
        let scale = V(1) / total
        var c = 0
        while c < classes {
            let e = V.load(In(p) + c &* pitch, i)
            let isTop = V.equal(V.load(In(q) + c &* pitch, i), V(1))
            (e * scale).store(p + c &* pitch, i)
            (V.select(isTop, rest, total - e) * scale).store(q + c &* pitch, i)
            c &+= 1
        }
        i &+= 16
    }
}

/// The largest logit and log Σ e^(x − largest): log p = (x − largest) − rest, without cancellation.
@inline(__always)
func logSumExp<V: Vector>(_: V.Type, _ x: Planes, _ classes: Int, _ largest: Out, _ restOut: Out, _ n: Int) {
    var i = 0
    while i < n {
        let top = top(V.self, x, classes, i)
        let rest = rest(x, classes, i, top) { _, _, _ in }
        top.store(largest, i)
        V.logOnePlus(rest).store(restOut, i)
        i &+= 16
    }
}

/// Positions that are computed at a time: what is copied of their classes stays in the cache.
private var tilePositions: Int { 128 }

/// Cross-entropy with labels, whose classes count h times (0: a position that counts nothing, whatever it holds):
/// l = −h·log p of the label's class; and, if wanted, c·h·p, less c·h for the label's class.
///
/// Planes are read and written one after the other, a tile of positions at a time, because planes that lie a large power
/// of two apart share a few lines of a cache; the copy between holds the classes of sixteen positions side by side.
@inline(__always)
func crossEntropyLabels<V: Vector>(
    _: V.Type, _ x: Planes, _ classes: Int, _ labels: In, _ h: In, _ c: Double, _ tile: Out, _ l: Out,
    _ out: UnsafePointer<Out>?, _ n: Int
) {
    // Behind the classes are the factor of the others' p and the gradient of the label's class.
    let pitch = classes &+ 2
    let top = l
    var start = 0
    while start < n {
        let end = Swift.min(start &+ tilePositions, n)
        var k = 0
        while k < classes {
            let x = x[k]
            var i = start
            while i < end {
                let v = V.load(x, i)
                v.store(tile, (i &- start) &* pitch &+ k &* 16)
                (k == 0 ? v : V.max(V.load(In(top), i), v)).store(top, i)
                i &+= 16
            }
            k &+= 1
        }
        var i = start
        while i < end {
            crossEntropyLabels(
                V.self, tile + (i &- start) &* pitch &* V.bytes, classes, V.load(labels, i), V.load(h, i), c, l, i,
                withGradient: out != nil, next: x)
            i &+= 16
        }
        if let out {
            k = 0
            while k < classes {
                let label = V(Double(k))
                let out = out[k]
                var i = start
                while i < end {
                    let group = In(tile) + (i &- start) &* pitch &* V.bytes
                    let slope = V.load(group, k &* 16) * V.load(group, classes &* 16)
                    let own = V.load(group, classes &* 16 &+ 16)
                    V.select(V.equal(V.load(labels, i), label), own, slope).store(out, i)
                    i &+= 16
                }
                k &+= 1
            }
        }
        start = end
    }
}

/// Sixteen positions, whose classes are side by side at x and the largest of which is in l. The next tile's are asked for
/// meanwhile: they are too far apart for the processor to see them coming.
@inline(__always)
private func crossEntropyLabels<V: Vector>(
    _: V.Type, _ x: Out, _ classes: Int, _ label: V, _ h: V, _ c: Double, _ l: Out, _ i: Int, withGradient: Bool,
    next: Planes
) {
    let top = V.load(In(l), i)
    let counts = V.not(V.equal(h, V(0)))
    let ahead = (i &+ tilePositions) &* V.bytes
    var rest = V(0)
    var tops = V(0)
    var own = V(0)
    var ownPower = V(0)
    var current = V(0)
    var k = 0
    while k < classes {
        kernel_prefetch(next[k] + ahead)
        let v = V.load(In(x), k &* 16)
        let e = (v - top).expOfNegative()
        let isTop = V.equal(v, top)
        // Of the largest, one is left out.
        rest = rest + e.keep(V.not(isTop))
        tops = tops + V(1).keep(isTop)
        let isOwn = V.equal(label, current)
        own = V.select(isOwn, v, own)
        if withGradient {
            ownPower = V.select(isOwn, e, ownPower)
            e.keep(counts).store(x, k &* 16)
        }
        current = current + V(1)
        k &+= 1
    }
    rest = rest + (tops - V(1))
    (h * ((top - own) + V.logOnePlus(rest))).keep(counts).store(l, i)
    if withGradient {
        let total = V(1) + rest
        let scale = (V(c) * h) / total
        // 1 − p of the label's class, with all its digits; NaN where its p is that.
        let others = V.select(V.equal(own, top), rest, total - ownPower) + V(0) * ownPower
        scale.keep(counts).store(x, classes &* 16)
        (V(0) - scale * others).keep(counts).store(x, (classes &+ 1) &* 16)
    }
}

/// w times the weight of the label's class.
@inline(__always)
func labelWeights<V: Vector>(
    _: V.Type, _ labels: In, _ weights: UnsafePointer<Double>, _ classes: Int, _ w: In, _ out: Out, _ n: Int
) {
    map(out, n) { i in
        let label = V.load(labels, i)
        var weight = V(0)
        var current = V(0)
        var k = 0
        while k < classes {
            weight = V.select(V.equal(label, current), V(weights[k]), weight)
            current = current + V(1)
            k &+= 1
        }
        return V.load(w, i) * weight
    }
}

/// l += t·(−log p) where t is not 0: an ignored position counts nothing, whatever it holds.
@inline(__always)
func crossEntropyAdd<V: Vector>(_: V.Type, _ x: In, _ largest: In, _ rest: In, _ t: In, _ l: Out, _ n: Int) {
    map(l, n) { i in
        let t = V.load(t, i)
        let term = t * ((V.load(largest, i) - V.load(x, i)) + V.load(rest, i))
        return V.load(In(l), i) + term.keep(V.not(V.equal(t, V(0))))
    }
}

/// The largest t of each position, and the sum of the others.
@inline(__always)
func crossEntropyTargets<V: Vector>(
    _: V.Type, _ t: In, _ classes: Int, _ pitch: Int, _ largest: Out, _ others: Out, _ n: Int
) {
    var i = 0
    while i < n {
        var top = V.load(t, i)
        var sum = V(0)
        var c = 1
        while c < classes {
            let t = V.load(t + c &* pitch, i)
            let isLarger = V.less(top.magnitude, t.magnitude)
            sum = sum + V.select(isLarger, top, t)
            top = V.select(isLarger, t, top)
            c &+= 1
        }
        top.store(largest, i)
        sum.store(others, i)
        i &+= 16
    }
}

/// c·(p·(T − t) − t·(1−p)) where T, the sum of all t, is not 0; the difference p·T − t without its cancellation. T − t is
/// small beside t for the largest alone: there it is the sum of the others.
@inline(__always)
func crossEntropyGradient<V: Vector>(
    _: V.Type, _ p: In, _ q: In, _ t: In, _ largest: In, _ others: In, _ c: Double, _ out: Out, _ n: Int
) {
    let c = V(c)
    map(out, n) { i in
        let t = V.load(t, i)
        let largest = V.load(largest, i)
        let others = V.load(others, i)
        let total = largest + others
        let rest = V.select(V.equal(t, largest), others, total - t)
        let d = V.load(p, i) * rest - t * V.load(q, i)
        return (c * d).keep(V.not(V.equal(total, V(0))))
    }
}

/// dL/dx = p·(g − Σ p·g) for dL/dp = g. Where a class is nearly certain its g cancels against its own part of the sum:
/// for p > ½ that is (1−p)·g − Σ of the others.
@inline(__always)
func softmaxGradient<V: Vector>(
    _: V.Type, _ p: In, _ q: In, _ g: In, _ classes: Int, _ pitch: Int, _ out: UnsafePointer<Out>, _ n: Int
) {
    let half = V(0.5)
    var i = 0
    while i < n {
        var others = V(0)
        var certain = V(0)
        var c = 0
        while c < classes {
            let p = V.load(p + c &* pitch, i)
            let term = p * V.load(g + c &* pitch, i)
            let isCertain = V.less(half, p)
            others = others + term.keep(V.not(isCertain))
            certain = certain + term.keep(isCertain)
            c &+= 1
        }
        let all = others + certain
        c = 0
        while c < classes {
            let p = V.load(p + c &* pitch, i)
            let g = V.load(g + c &* pitch, i)
            let q = V.load(q + c &* pitch, i)
            (p * V.select(V.less(half, p), q * g - others, g - all)).store(out[c], i)
            c &+= 1
        }
        i &+= 16
    }
}
