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
                l = l.fma(lost.keep(V.not(positive)), V(1).fma(p, V(1) + p))
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
            return V(0) - (g * logP).fma(V(1) - g, logU)
        }
    }
}

/// c·w·dℓ/dp = c·w·(p − g)/max(p(1−p), 1e-12): the clamp of the forward is not differentiated.
@inline(__always)
func bceGradient<V: Vector>(_: V.Type, _ p: In, _ g: In, _ w: In?, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    weighted(V.self, w) { w in
        map(out, n) { i in
            let p = V.load(p, i)
            return (c * w(i)) * ((p - V.load(g, i)) / V.max(V(1e-12), (V(1) - p) * p))
        }
    }
}

/// (1−y)·softplus(x) + a·y·softplus(−x), with softplus(x) = max(x, 0) + log(1 + e^−|x|), each softplus within 3 ulp
/// (Tests/Math).
///
/// Infinite logits as PyTorch has them: ∞ for x = ∞, y = 0, else NaN (the last term makes −∞ one).
@inline(__always)
func crossEntropy<V: Vector>(_ x: V, _ y: V, _ a: V) -> V {
    let l = V.log1p(fraction: (-x.magnitude).expOfNegative())
    let more = l + x.magnitude
    let isNegative = V.less(x, V(0))
    let positive = V.select(isNegative, l, more)
    let negative = V.select(isNegative, more, l)
    return ((a * y) * negative).fma(V(1) - y, positive).fma(V(0), negative)
}

@inline(__always)
func bceLogits<V: Vector>(_: V.Type, _ x: In, _ y: In, _ a: Double, _ out: Out, _ n: Int) {
    let a = V(a)
    map(out, n) { i in crossEntropy(V.load(x, i), V.load(y, i), a) }
}

/// Its derivative: σ(x) − y as (1−y)·σ − y·(1−σ), without cancellation where σ rounds to 1.
@inline(__always)
func crossEntropySlope<V: Vector>(_ s: (value: V, complement: V), _ y: V, _ a: V) -> V {
    ((V(1) - y) * s.value).fnma(a * y, s.complement)
}

@inline(__always)
func bceLogitsGradient<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In?, _ a: Double, _ c: Double, _ out: Out, _ n: Int
) {
    let a = V(a)
    let c = V(c)
    weighted(V.self, w) { w in
        map(out, n) { i in (c * w(i)) * crossEntropySlope(V.load(x, i).sigmoid(), V.load(y, i), a) }
    }
}

/// Both, of one exponential.
@inline(__always)
func bceLogitsBoth<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In?, _ a: Double, _ c: Double, _ value: Out, _ out: Out, _ n: Int
) {
    let a = V(a)
    let c = V(c)
    weighted(V.self, w) { w in
        map(value, out, n) { i in
            let x = V.load(x, i)
            let y = V.load(y, i)
            return (crossEntropy(x, y, a), (c * w(i)) * crossEntropySlope(x.sigmoid(), y, a))
        }
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

/// p = σ(u) and q = 1 − σ(u), each with its digits.
@inline(__always)
func sigmoids<V: Vector>(_: V.Type, _ u: In, _ p: Out, _ q: Out, _ n: Int) {
    map(p, q, n) { i in
        let s = V.load(u, i).sigmoid()
        return (s.value, s.complement)
    }
}

@inline(__always)
func sigmoidGradient<V: Vector>(_: V.Type, _ u: In, _ h: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in
        let s = V.load(u, i).sigmoid()
        return (c * V.load(h, i)) * (s.value * s.complement)
    }
}
