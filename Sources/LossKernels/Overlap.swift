import KernelTable

// Overlap of a prediction with a target (Dice and its kin), and absolute difference, under a mask.

@inline(__always)
func overlap<V: Vector>(_: V.Type, _ p: In, _ g: In, _ m: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in
        let p = V.load(p, i)
        let g = V.load(g, i)
        let m = V.load(m, i)
        let pm = p * m
        return (pm * g, pm * (V(1) - g), (V(1) - p) * (g * m))
    }
}

@inline(__always)
func maskedAffine<V: Vector>(_: V.Type, _ g: In, _ m: In, _ a: Double, _ b: Double, _ out: Out, _ n: Int) {
    let a = V(a)
    let b = V(b)
    map(out, n) { i in V.load(m, i) * b.fma(a, V.load(g, i)) }
}

@inline(__always)
func difference<V: Vector>(_: V.Type, _ t: In, _ u: In, _ m: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in
        let m = V.load(m, i)
        return ((V.load(t, i) - V.load(u, i)).magnitude * m, m)
    }
}

@inline(__always)
func differenceGradient<V: Vector>(_: V.Type, _ t: In, _ u: In, _ m: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in
        let d = V.load(t, i) - V.load(u, i)
        // sgn 0 = 0, and NaN stays NaN.
        let sign = V.select(V.equal(d, V(0)), V(0), V.select(V.equal(d, d), V(1).signed(like: d), d))
        return (c * V.load(m, i)) * sign
    }
}
