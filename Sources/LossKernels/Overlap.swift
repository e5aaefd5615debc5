import KernelTable

// Overlap of a prediction with a target (Dice and its kin), and absolute difference, under a mask.

/// Σ p·y·m, Σ p·(1−y)·m, Σ (1−p)·y·m: small where prediction and target agree, so that nothing cancels.
@inline(__always)
func overlapTerms<V: Vector>(_ p: V, _ q: V, _ y: V, _ m: V) -> Three<V> {
    let pm = p * m
    return Three(pm * y, Two(pm * (V(1) - y), q * (y * m)))
}

@inline(__always)
func overlap<V: Vector & Terms>(_: V.Type, _ p: In, _ q: In?, _ y: In, _ m: In?, _ n: Int, _ sums: Sums) {
    weighted(V.self, m) { m in
        if let q {
            sum(n, sums) { i in overlapTerms(V.load(p, i), V.load(q, i), V.load(y, i), m(i)) }
        } else {
            sum(n, sums) { i in
                let p = V.load(p, i)
                return overlapTerms(p, V(1) - p, V.load(y, i), m(i))
            }
        }
    }
}

@inline(__always)
func overlapLogits<V: Vector & Terms>(_: V.Type, _ x: In, _ y: In, _ m: In?, _ n: Int, _ sums: Sums) {
    weighted(V.self, m) { m in
        sum(n, sums) { i in
            let s = V.load(x, i).sigmoid()
            return overlapTerms(s.value, s.complement, V.load(y, i), m(i))
        }
    }
}

@inline(__always)
func overlapCrossEntropyLogits<V: Vector & Terms>(_: V.Type, _ x: In, _ y: In, _ m: In?, _ n: Int, _ sums: Sums) {
    weighted(V.self, m) { m in
        sum(n, sums) { i in
            let x = V.load(x, i)
            let y = V.load(y, i)
            let m = m(i)
            let s = x.sigmoid()
            return Two(overlapTerms(s.value, s.complement, y, m), crossEntropy(x, y, V(1)) * m)
        }
    }
}

/// The derivative by x of a·Σpym + b·Σpm (whatever made a and b) and c·Σℓm, ℓ being the cross-entropy.
@inline(__always)
func overlapLogitsGradient<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ m: In?, _ a: Double, _ b: Double, _ c: Double, _ out: Out, _ n: Int
) {
    let a = V(a)
    let b = V(b)
    let c = V(c)
    weighted(V.self, m) { m in
        map(out, n) { i in
            let y = V.load(y, i)
            let s = V.load(x, i).sigmoid()
            let overlap = b.fma(a, y) * (s.value * s.complement)
            return m(i) * overlap.fma(c, crossEntropySlope(s, y, V(1)))
        }
    }
}

@inline(__always)
func maskedAffine<V: Vector>(_: V.Type, _ g: In, _ m: In?, _ a: Double, _ b: Double, _ out: Out, _ n: Int) {
    let a = V(a)
    let b = V(b)
    weighted(V.self, m) { m in
        map(out, n) { i in m(i) * b.fma(a, V.load(g, i)) }
    }
}

@inline(__always)
func difference<V: Vector & Terms>(_: V.Type, _ t: In, _ u: In, _ m: In, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in
        let m = V.load(m, i)
        return Two((V.load(t, i) - V.load(u, i)).magnitude * m, m)
    }
}

@inline(__always)
func differenceGradient<V: Vector>(_: V.Type, _ t: In, _ u: In, _ m: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in (c * V.load(m, i)) * (V.load(t, i) - V.load(u, i)).sign }
}
