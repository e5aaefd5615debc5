import KernelTable

// Binary cross-entropy of each element, and the approximate step function of DB.

/// −[g·max(log p, −100) + (1−g)·max(log(1−p), −100)], the frameworks' form on probabilities.
///
/// A target of 0 or 1 needs one logarithm: the other has weight 0 and is finite. Blocks of such targets,
/// which is nearly all of them, take that path; both give the same bits.
@inline(__always)
func bce<V: Vector>(_: V.Type, _ p: In, _ g: In, _ out: Out, _ n: Int, log1p: Bool) {
    if isBinary(V.self, g, n) {
        map(out, n) { i in
            let p = V.load(p, i)
            let positive = V.equal(V.load(g, i), V(1))
            let u = V(1) - p
            var l = V.select(positive, p, u).log()
            if log1p {
                // What rounding 1 − p lost, as in Vector.log1p with d = −p.
                let lost = (V(1) - u) - p
                l = l + (lost * (V(1) + p * (V(1) + p))).keep(V.not(positive))
            }
            return V(0) - V.max(V(-100), l)
        }
    } else {
        map(out, n) { i in
            let p = V.load(p, i)
            let g = V.load(g, i)
            let u = V(1) - p
            let logP = V.max(V(-100), p.log())
            let logU = V.max(V(-100), log1p ? V.log1p(V(0) - p) : u.log())
            return V(0) - (g * logP + (V(1) - g) * logU)
        }
    }
}

/// dℓ/dp = (p − g)/max(p(1−p), 1e-12): the clamp of the forward is not differentiated.
@inline(__always)
func bceGradient<V: Vector>(_: V.Type, _ p: In, _ g: In, _ out: Out, _ n: Int) {
    map(out, n) { i in
        let p = V.load(p, i)
        return (p - V.load(g, i)) / V.max(V(1e-12), (V(1) - p) * p)
    }
}

/// max(x, 0) − x·g + log(1 + e^−|x|)
@inline(__always)
func bceLogits<V: Vector>(_: V.Type, _ x: In, _ g: In, _ out: Out, _ n: Int) {
    map(out, n) { i in
        let x = V.load(x, i)
        let g = V.load(g, i)
        return V.max(V(0), x) - x * g + V.log1p((V(0) - x.magnitude).exp())
    }
}

@inline(__always)
func bceLogitsGradient<V: Vector>(_: V.Type, _ x: In, _ g: In, _ out: Out, _ n: Int) {
    // σ(x) − g as (1−g)·σ − g·(1−σ): no cancellation where σ rounds to 1.
    map(out, n) { i in
        let g = V.load(g, i)
        let s = V.load(x, i).sigmoid()
        return (V(1) - g) * s.value - g * s.complement
    }
}

@inline(__always)
func scaledDifference<V: Vector>(_: V.Type, _ a: In, _ b: In, _ k: Double, _ out: Out, _ n: Int) {
    let k = V(k)
    map(out, n) { i in k * (V.load(a, i) - V.load(b, i)) }
}

@inline(__always)
func sigmoid<V: Vector>(_: V.Type, _ u: In, _ out: Out, _ n: Int) {
    map(out, n) { i in V.load(u, i).sigmoid().value }
}

@inline(__always)
func sigmoidGradient<V: Vector>(_: V.Type, _ u: In, _ h: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in
        let s = V.load(u, i).sigmoid()
        return (c * V.load(h, i)) * (s.value * s.complement)
    }
}
