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
        let e = (x - top).exp()
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
        // log1p takes at most 1: beyond, the rounding of 1 + rest loses nothing that counts.
        let isSmall = V.not(V.less(V(1), rest))
        V.select(isSmall, V.log1p(rest.keep(isSmall)), (V(1) + rest).log()).store(restOut, i)
        i &+= 16
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
