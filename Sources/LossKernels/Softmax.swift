import KernelTable

// Softmax over the classes of each position: class c's block lies in plane c.

/// Positions that are computed at a time: what is copied of their classes stays in the cache.
private var tilePositions: Int { 128 }

/// Calls `group` for each sixteen positions, whose classes it finds side by side, and then `each` for each class of each.
///
/// Planes are read, and by `each` written, one after the other, a tile of positions at a time, because planes that lie a
/// large power of two apart share a few lines of a cache. `tile` is scratch of classes + 2 planes, the last two for `group`.
@inline(__always)
private func tiles<V: Vector>(
    _: V.Type, _ x: Planes, _ classes: Int, _ tile: Out, _ n: Int, group: (_ classes: Out, _ top: V, _ i: Int) -> Void,
    each: ((_ k: Int, _ classes: In, _ i: Int) -> Void)?
) {
    let pitch = classes &+ 2
    var start = 0
    while start < n {
        let end = Swift.min(start &+ tilePositions, n)
        @inline(__always) func place(_ i: Int) -> Out { tile + (i &- start) &* pitch &* V.bytes }
        // The largest so far stands behind the classes.
        var k = 0
        while k < classes {
            let x = x[k]
            var i = start
            while i < end {
                let place = place(i)
                let v = V.load(x, i)
                v.store(place, k &* 16)
                (k == 0 ? v : V.max(V.load(In(place), classes &* 16), v)).store(place, classes &* 16)
                i &+= 16
            }
            k &+= 1
        }
        var i = start
        while i < end {
            group(place(i), V.load(In(place(i)), classes &* 16), i)
            i &+= 16
        }
        if let each {
            k = 0
            while k < classes {
                var i = start
                while i < end {
                    each(k, In(place(i)), i)
                    i &+= 16
                }
                k &+= 1
            }
        }
        start = end
    }
}

/// Σ e^(x − top) of sixteen positions less one largest's 1: what is small where one class is certain. x is classes side by
/// side; the next tile's are asked for meanwhile, being too far apart for the processor to see them coming.
@inline(__always)
private func rest<V: Vector>(
    _ x: Out, _ classes: Int, _ top: V, _ i: Int, next: Planes, _ each: (_ k: Int, _ x: V, _ e: V) -> Void
) -> V {
    let ahead = (i &+ tilePositions) &* V.bytes
    var rest = V(0)
    var tops = V(0)
    var k = 0
    while k < classes {
        kernel_prefetch(next[k] + ahead)
        let v = V.load(In(x), k &* 16)
        let e = (v - top).expOfNegative()
        let isTop = V.equal(v, top)
        rest = rest + e.keep(V.not(isTop))
        tops = tops + V(1).keep(isTop)
        each(k, v, e)
        k &+= 1
    }
    return rest + (tops - V(1))
}

/// p and 1 − p, each with all its digits.
@inline(__always)
func softmax<V: Sixteen>(
    _: V.Type, _ x: Planes, _ classes: Int, _ tile: Out, _ p: Out, _ q: Out, _ pitch: Int, _ n: Int
) {
    tiles(V.self, x, classes, tile, n) { group, top, i in
        let rest = rest(group, classes, top, i, next: x) { k, _, e in e.store(group, k &* 16) }
        rest.store(group, classes &* 16)
        (V(1) / (V(1) + rest)).store(group, (classes &+ 1) &* 16)
    } each: { k, group, i in
        let e = V.load(group, k &* 16)
        let rest = V.load(group, classes &* 16)
        let scale = V.load(group, (classes &+ 1) &* 16)
        (e * scale).store(p + k &* pitch, i)
        // The largest's is 1, and that of another only where the rest is no less.
        (V.select(V.equal(e, V(1)), rest, (V(1) + rest) - e) * scale).store(q + k &* pitch, i)
    }
}

/// The largest logit and log Σ e^(x − largest): log p = (x − largest) − rest, without cancellation.
@inline(__always)
func logSumExp<V: Sixteen>(
    _: V.Type, _ x: Planes, _ classes: Int, _ tile: Out, _ largest: Out, _ restOut: Out, _ n: Int
) {
    tiles(
        V.self, x, classes, tile, n,
        group: { group, top, i in
            top.store(largest, i)
            V.logOnePlus(rest(group, classes, top, i, next: x) { _, _, _ in }).store(restOut, i)
        }, each: nil)
}

/// Cross-entropy with labels, whose classes count h times (0: a position that counts nothing, whatever it holds):
/// l = −h·log p of the label's class; and, if wanted, c·h·p, less c·h for the label's class.
@inline(__always)
func crossEntropyLabels<V: Sixteen>(
    _: V.Type, _ x: Planes, _ classes: Int, _ labels: In, _ h: In, _ c: Double, _ tile: Out, _ l: Out,
    _ out: UnsafePointer<Out>?, _ n: Int
) {
    @inline(__always) func group(_ group: Out, _ top: V, _ i: Int, withGradient: Bool) {
        let label = V.load(labels, i)
        let h = V.load(h, i)
        let counts = V.not(V.equal(h, V(0)))
        var current = V(0)
        var own = V(0)
        var ownPower = V(0)
        let rest = rest(group, classes, top, i, next: x) { k, v, e in
            let isOwn = V.equal(label, current)
            own = V.select(isOwn, v, own)
            if withGradient {
                ownPower = V.select(isOwn, e, ownPower)
                e.keep(counts).store(group, k &* 16)
            }
            current = current + V(1)
        }
        (h * ((top - own) + V.logOnePlus(rest))).keep(counts).store(l, i)
        if withGradient {
            let total = V(1) + rest
            let scale = (V(c) * h) / total
            // 1 − p of the label's class, with all its digits; NaN where its p is that.
            let others = V.select(V.equal(own, top), rest, total - ownPower) + V(0) * ownPower
            scale.keep(counts).store(group, classes &* 16)
            (V(0) - scale * others).keep(counts).store(group, (classes &+ 1) &* 16)
        }
    }
    if let out {
        tiles(V.self, x, classes, tile, n) {
            group($0, $1, $2, withGradient: true)
        } each: { k, group, i in
            let slope = V.load(group, k &* 16) * V.load(group, classes &* 16)
            let own = V.load(group, (classes &+ 1) &* 16)
            V.select(V.equal(V.load(labels, i), V(Double(k))), own, slope).store(out[k], i)
        }
    } else {
        tiles(V.self, x, classes, tile, n, group: { group($0, $1, $2, withGradient: false) }, each: nil)
    }
}

/// The same of smoothed labels: class k counts f·spread[k], and the label's class h more. spread holds a number for each
/// class, then the sum of the others' for each, then the sum of all.
@inline(__always)
func crossEntropySmoothed<V: Sixteen>(
    _: V.Type, _ x: Planes, _ classes: Int, _ labels: In, _ h: In, _ f: In, _ spread: UnsafePointer<Double>,
    _ c: Double, _ tile: Out, _ l: Out, _ out: UnsafePointer<Out>?, _ n: Int
) {
    let all = V(spread[2 &* classes])
    @inline(__always) func group(_ group: Out, _ top: V, _ i: Int, withGradient: Bool) {
        let label = V.load(labels, i)
        let h = V.load(h, i)
        let f = V.load(f, i)
        let weight = f * all + h
        let counts = V.not(V.equal(weight, V(0)))
        var current = V(0)
        var own = V(0)
        var spreads = V(0)
        let rest = rest(group, classes, top, i, next: x) { k, v, e in
            own = V.select(V.equal(label, current), v, own)
            let share = V(spread[k])
            spreads = spreads + (share * (top - v)).keep(V.not(V.equal(share, V(0))))
            if withGradient { e.keep(counts).store(group, k &* 16) }
            current = current + V(1)
        }
        let labelled = (h * (top - own)).keep(V.not(V.equal(h, V(0))))
        (f * spreads + labelled + weight * V.logOnePlus(rest)).keep(counts).store(l, i)
        if withGradient {
            rest.keep(counts).store(group, classes &* 16)
            (V(c) / (V(1) + rest)).keep(counts).store(group, (classes &+ 1) &* 16)
        }
    }
    if let out {
        tiles(V.self, x, classes, tile, n) {
            group($0, $1, $2, withGradient: true)
        } each: { k, group, i in
            let e = V.load(group, k &* 16)
            let rest = V.load(group, classes &* 16)
            let isOwn = V.equal(V.load(labels, i), V(Double(k)))
            let h = V.load(h, i)
            let f = V.load(f, i)
            // Of this class, and of the others: neither is the difference of two large numbers.
            let t = f * V(spread[k]) + h.keep(isOwn)
            let others = f * V(spread[classes &+ k]) + h.keep(V.not(isOwn))
            let q = V.select(V.equal(e, V(1)), rest, (V(1) + rest) - e)
            (V.load(group, (classes &+ 1) &* 16) * (e * others - t * q)).store(out[k], i)
        }
    } else {
        tiles(V.self, x, classes, tile, n, group: { group($0, $1, $2, withGradient: false) }, each: nil)
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
func crossEntropyTargets<V: Sixteen>(
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
func softmaxGradient<V: Sixteen>(
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
