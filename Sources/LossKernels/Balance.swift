import KernelTable

// Weights of positives and negatives, products and sums of whole blocks, hard-example masks.

@inline(__always)
func balanceWeights<V: Vector>(_: V.Type, _ g: In, _ m: In, _ positive: Out, _ negative: Out, _ n: Int) {
    map(positive, n) { i in V.load(g, i) * V.load(m, i) }
    map(negative, n) { i in (V(1) - V.load(g, i)) * V.load(m, i) }
}

/// What a float becomes as a byte: truncated towards zero, held to 0…255; NaN is 0.
@inline(__always)
func truncatedToByte<V: Vector>(_ x: V) -> V {
    let number = x.keep(V.equal(x, x))
    return V.max(V(0), V.min(V(255), number.truncated()))
}

@inline(__always)
func balanceWeightsU8<V: Vector>(_: V.Type, _ g: In, _ m: In, _ positive: Out, _ negative: Out, _ n: Int) {
    map(positive, n) { i in truncatedToByte(V.load(g, i) * V.load(m, i)) }
    map(negative, n) { i in truncatedToByte((V(1) - V.load(g, i)) * V.load(m, i)) }
}

@inline(__always)
func sum1<V: Vector & Terms>(_: V.Type, _ a: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in V.load(a, i) }
}

@inline(__always)
func sum2<V: Vector & Terms>(_: V.Type, _ a: In, _ b: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in Two(V.load(a, i), V.load(b, i)) }
}

@inline(__always)
func dot<V: Vector & Terms>(_: V.Type, _ a: In, _ b: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in V.load(a, i) * V.load(b, i) }
}

@inline(__always)
func product<V: Vector>(_: V.Type, _ a: In, _ b: In, _ out: Out, _ n: Int) {
    map(out, n) { i in V.load(a, i) * V.load(b, i) + V(0) }
}

@inline(__always)
func clear<V: Vector>(_: V.Type, _ out: Out, _ n: Int) {
    map(out, n) { _ in V(0) }
}

@inline(__always)
func scale<V: Vector>(_: V.Type, _ a: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in c * V.load(a, i) }
}

@inline(__always)
func addScaled<V: Vector>(_: V.Type, _ a: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in V.load(In(out), i) + c * V.load(a, i) }
}

@inline(__always)
func keep<V: Vector>(_: V.Type, _ a: In, _ m: In, _ out: Out, _ n: Int) {
    map(out, n) { i in V.load(a, i).keep(V.not(V.equal(V.load(m, i), V(0)))) }
}

@inline(__always)
func isBinary<V: Vector>(_: V.Type, _ a: In, _ n: Int) -> Bool {
    all(V.self, n) { i in
        let a = V.load(a, i)
        return V.or(V.equal(a, V(0)), V.equal(a, V(1)))
    }
}

@inline(__always)
func isProbability<V: Vector>(_: V.Type, _ a: In, _ exempt: Double, _ n: Int) -> Bool {
    let exempt = V(exempt)
    return all(V.self, n) { i in
        // Clamping changes none, and NaN is not equal to itself.
        let a = V.load(a, i)
        return V.or(V.equal(V.max(V(0), V.min(V(1), a)), a), V.equal(a, exempt))
    }
}

@inline(__always)
func isFinite<V: Vector>(_: V.Type, _ a: In, _ n: Int) -> Bool {
    all(V.self, n) { i in V.less(V.load(a, i).magnitude, V(Double.infinity)) }
}

@inline(__always)
func ohemPool<V: Vector & Terms>(
    _: V.Type, _ p: In, _ g: In, _ m: In, _ clean: Bool, _ out: Out, _ count: Int, _ sums: Sums
) {
    let half = V(0.5)
    let one = V(1)
    sum((count &+ 31) & ~31, sums) { i in
        let g = V.load(g, i)
        let m = V.load(m, i)
        let inside = inside(V.self, i, count)
        let text = V.less(half, g)
        let notText = V.or(V.less(g, half), V.equal(g, half))
        let allowed = clean ? V.less(half, m) : inside
        let pool = V.and(V.and(notText, allowed), inside)
        V.select(pool, V.load(p, i), V(-Double.infinity)).store(out, i)
        return Two(one.keep(V.and(text, V.less(half, m))), one.keep(pool))
    }
}

@inline(__always)
func ohemMask<V: Vector>(_: V.Type, _ p: In, _ g: In, _ m: In, _ threshold: Double, _ out: Out, _ n: Int) {
    let half = V(0.5)
    let threshold = V(threshold)
    map(out, n) { i in
        let p = V.load(p, i)
        let hard = V.or(V.less(threshold, p), V.equal(p, threshold))
        return V(1).keep(V.and(V.or(hard, V.less(half, V.load(g, i))), V.less(half, V.load(m, i))))
    }
}
