import KernelTable

// The active contour loss, a row at a time: the length of a gradient, and a region.

private typealias Step<V> = (a: V, b: V, s: (root: V, inverse: V))

/// p at one place less p at another: of logits p·q′·(1 − e^−(x − x′)) of the larger and the smaller, since the probabilities
/// of flat regions differ by less than their rounding.
@inline(__always)
private func contourDifference<V: Vector>(_ p: In, _ logits: (q: In, x: In)?, _ to: Int, _ from: Int) -> V {
    let p1 = V.load(p, to)
    let p0 = V.load(p, from)
    guard let (q, x) = logits else { return p1 - p0 }
    let d = V.load(x, to) - V.load(x, from)
    let falls = V.less(d, V(0))
    let product = V.select(falls, p0, p1) * V.select(falls, V.load(q, to), V.load(q, from))
    let rise = product * (-d.magnitude).oneMinusExp()
    // Equal infinities differ by nothing.
    return V.select(falls, -rise, rise).keep(V.not(V.equal(V.load(x, to), V.load(x, from))))
}

/// a = p[i+r] − p[i+r−1] down and b likewise across, r = reach, and S = √(a² + b² + 1e-8).
@inline(__always)
private func contourStep<V: Vector>(
    _ p: In, _ logits: (q: In, x: In)?, _ reach: Int, _ pitch: Int, _ i: Int
) -> Step<V> {
    let down = i &+ reach &* pitch
    let across = i &+ reach
    let a: V = contourDifference(p, logits, down, down &- pitch)
    let b: V = contourDifference(p, logits, across, across &- 1)
    return (a, b, (V(1e-8).fma(a, a) + b * b).squareRoot())
}

@inline(__always)
private func contourSteps<V: Vector>(
    _: V.Type, _ p: In, _ q: In?, _ x: In?, _ reach: Int, _ pitch: Int, _ loop: ((Int) -> Step<V>) -> Void
) {
    if let q, let x {
        loop { i in contourStep(p, (q, x), reach, pitch, i) }
    } else {
        loop { i in contourStep(p, nil, reach, pitch, i) }
    }
}

/// Σ S of the first `count` columns.
@inline(__always)
func contourLength<V: Vector & Terms>(
    _: V.Type, _ p: In, _ q: In?, _ x: In?, _ reach: Int, _ pitch: Int, _ count: Int, _ n: Int, _ sums: Sums
) {
    contourSteps(V.self, p, q, x, reach, pitch) { step in
        sum(n, sums) { i in step(i).s.root.keep(inside(V.self, i, count)) }
    }
}

/// Its derivatives by a and b; and the same sum.
@inline(__always)
func contourSlopes<V: Vector & Terms>(
    _: V.Type, _ p: In, _ q: In?, _ x: In?, _ reach: Int, _ pitch: Int, _ count: Int, _ down: Out, _ across: Out,
    _ n: Int, _ sums: Sums
) {
    contourSteps(V.self, p, q, x, reach, pitch) { step in
        sum(n, sums) { i in
            let (a, b, s) = step(i)
            let inside = inside(V.self, i, count)
            (a * s.inverse).keep(inside).store(down, i)
            (b * s.inverse).keep(inside).store(across, i)
            return s.root.keep(inside)
        }
    }
}

/// Σ p·(y − in)² + (1−p)·(y − out)² of the first `count`; q is 1 − p, nil if it is to be subtracted.
@inline(__always)
func contourRegion<V: Vector & Terms>(
    _: V.Type, _ p: In, _ q: In?, _ y: In, _ inner: Double, _ outer: Double, _ count: Int, _ n: Int, _ sums: Sums
) {
    let inner = V(inner)
    let outer = V(outer)
    @inline(__always) func region(_ p: V, _ q: V, _ i: Int) -> V {
        let y = V.load(y, i)
        let toInner = y - inner
        let toOuter = y - outer
        return (p * (toInner * toInner) + q * (toOuter * toOuter)).keep(inside(V.self, i, count))
    }
    if let q {
        sum(n, sums) { i in region(V.load(p, i), V.load(q, i), i) }
    } else {
        sum(n, sums) { i in
            let p = V.load(p, i)
            return region(p, V(1) - p, i)
        }
    }
}

/// c·(down₁ − down₀ + across₁ − across₀) + d·((y − in)² − (y − out)²), times p·q where those are given: by the logit.
@inline(__always)
func contourGradient<V: Vector>(
    _: V.Type, _ down1: In, _ down0: In, _ across1: In, _ across0: In, _ y: In, _ p: In?, _ q: In?, _ inner: Double,
    _ outer: Double, _ c: Double, _ d: Double, _ out: Out, _ n: Int
) {
    // (y − in)² − (y − out)² = (out − in)·(2y − in − out)
    let middle = V(inner + outer)
    let region = V(d * (outer - inner))
    let c = V(c)
    @inline(__always) func slope(_ i: Int) -> V {
        let length = (V.load(down1, i) - V.load(down0, i)) + (V.load(across1, i) - V.load(across0, i))
        let y = V.load(y, i)
        return (region * (y + y - middle)).fma(c, length)
    }
    if let p, let q {
        map(out, n) { i in slope(i) * (V.load(p, i) * V.load(q, i)) }
    } else {
        map(out, n) { i in slope(i) }
    }
}
