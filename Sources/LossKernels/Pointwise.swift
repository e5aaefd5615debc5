import KernelTable

// Losses of each element by itself, and what turns labels and masks into weights.

@inline(__always)
func oneHot<V: Vector>(_: V.Type, _ labels: In, _ c: Double, _ out: Out, _ n: Int) {
    let c = V(c)
    map(out, n) { i in V(1).keep(V.equal(V.load(labels, i), c)) }
}

/// m where the label counts, 0 where it is the ignored one.
@inline(__always)
func notIgnored<V: Vector>(_: V.Type, _ y: In, _ ignored: Double, _ m: In?, _ out: Out, _ n: Int) {
    let ignored = V(ignored)
    weighted(V.self, m) { m in
        map(out, n) { i in m(i).keep(V.not(V.equal(V.load(y, i), ignored))) }
    }
}

/// 1 for the first `count`, then 0.
@inline(__always)
func ones<V: Vector>(_: V.Type, _ count: Int, _ out: Out, _ n: Int) {
    map(out, n) { i in V(1).keep(inside(V.self, i, count)) }
}

@inline(__always)
func areLabels<V: Vector>(_: V.Type, _ a: In, _ classes: Double, _ ignored: Double, _ n: Int) -> Bool {
    let classes = V(classes)
    let ignored = V(ignored)
    return all(V.self, n) { i in
        let a = V.load(a, i)
        let inside = V.and(V.not(V.less(a, V(0))), V.and(V.less(a, classes), V.equal(a.truncated(), a)))
        return V.or(inside, V.equal(a, ignored))
    }
}

/// u^γ for 0 ≤ u ≤ 1, and factors of u^γ·z/u, 0 where u is: γ = 2, which nearly everyone uses, by itself and without a quotient.
/// Others err by less than 2·(1 + |log u^γ|) ulp, since what rounds in the exponent counts as often as it is large (Tests/Math).
/// There it is z/u that stays finite: u^(γ−1) would not, of a small u and γ < 1.
@inline(__always)
private func withPower<V: Vector>(
    _: V.Type, _ gamma: Double, _ loop: ((_ u: V, _ z: V) -> (own: V, factors: (V, V))) -> Void
) {
    if gamma == 2 {
        loop { u, z in (u * u, (u, z)) }
    } else {
        loop { u, z in
            // The logarithm of 0 stays finite: 0^0 is 1.
            let power = (V(gamma) * V.max(V(-1e30), u.log())).exp()
            return (power, (power, (z / u).keep(V.not(V.equal(u, V(0))))))
        }
    }
}

/// The focal factor of an element: 1 − p_t and the weight of its class.
@inline(__always)
private func focalTerms<V: Vector>(_ p: V, _ q: V, _ y: V, _ positive: V, _ negative: V) -> (u: V, alpha: V) {
    ((p * (V(1) - y)).fma(q, y), (negative * (V(1) - y)).fma(positive, y))
}

/// ℓ = α_t·u^γ·CE and dℓ/dx = α_t·u^γ·[(p − y) − γ·CE·(2y − 1)·p(1−p)/u], u = 1 − p_t; where u is 0 so is p(1−p).
/// What a caller leaves out of the two costs nothing.
@inline(__always)
private func focalElement<V: Vector>(
    _ x: V, _ y: V, _ positive: Double, _ negative: Double, _ gamma: Double,
    _ power: (V, V) -> (own: V, factors: (V, V))
) -> (value: V, slope: V) {
    let s = x.sigmoid()
    let l = crossEntropy(x, y, V(1))
    let t = focalTerms(s.value, s.complement, y, V(positive), V(negative))
    let power = power(t.u, s.value * s.complement)
    let turn = (V(gamma) * l * V(-1).fma(V(2), y)) * power.factors.1
    let slope = (power.own * crossEntropySlope(s, y, V(1))).fnma(power.factors.0, turn)
    return (t.alpha * power.own * l, t.alpha * slope)
}

@inline(__always)
func focalLogits<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ positive: Double, _ negative: Double, _ gamma: Double, _ out: Out, _ n: Int
) {
    withPower(V.self, gamma) { power in
        map(out, n) { i in focalElement(V.load(x, i), V.load(y, i), positive, negative, gamma, power).value }
    }
}

@inline(__always)
func focalLogitsGradient<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In?, _ positive: Double, _ negative: Double, _ gamma: Double, _ c: Double,
    _ out: Out, _ n: Int
) {
    let c = V(c)
    weighted(V.self, w) { w in
        withPower(V.self, gamma) { power in
            map(out, n) { i in
                (c * w(i)) * focalElement(V.load(x, i), V.load(y, i), positive, negative, gamma, power).slope
            }
        }
    }
}

@inline(__always)
func focalLogitsBoth<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In?, _ positive: Double, _ negative: Double, _ gamma: Double, _ c: Double,
    _ value: Out, _ out: Out, _ n: Int
) {
    let c = V(c)
    weighted(V.self, w) { w in
        withPower(V.self, gamma) { power in
            map(value, out, n) { i in
                let (l, slope) = focalElement(V.load(x, i), V.load(y, i), positive, negative, gamma, power)
                return (l, (c * w(i)) * slope)
            }
        }
    }
}

/// From probabilities, whose cross-entropy l is given.
@inline(__always)
func focal<V: Vector>(
    _: V.Type, _ p: In, _ y: In, _ l: In, _ positive: Double, _ negative: Double, _ gamma: Double, _ out: Out, _ n: Int
) {
    withPower(V.self, gamma) { power in
        map(out, n) { i in
            let p = V.load(p, i)
            let t = focalTerms(p, V(1) - p, V.load(y, i), V(positive), V(negative))
            return t.alpha * power(t.u, V(0)).own * V.load(l, i)
        }
    }
}

@inline(__always)
func focalGradient<V: Vector>(
    _: V.Type, _ p: In, _ y: In, _ l: In, _ w: In?, _ positive: Double, _ negative: Double, _ gamma: Double,
    _ c: Double, _ out: Out, _ n: Int
) {
    let c = V(c)
    weighted(V.self, w) { w in
        withPower(V.self, gamma) { power in
            map(out, n) { i in
                let p = V.load(p, i)
                let y = V.load(y, i)
                let q = V(1) - p
                let t = focalTerms(p, q, y, V(positive), V(negative))
                let slope = (p - y) / V.max(V(1e-12), p * q)
                let power = power(t.u, V.load(l, i))
                let turn = (V(gamma) * V(-1).fma(V(2), y)) * power.factors.1
                return (c * w(i)) * (t.alpha * (power.own * slope).fnma(power.factors.0, turn))
            }
        }
    }
}

/// d²/(2β) below β, else |d| − β/2, of d = inside·(a − b).
@inline(__always)
func smoothL1<V: Vector>(_: V.Type, _ a: In, _ b: In, _ inside: In?, _ beta: Double, _ out: Out, _ n: Int) {
    let curvature = V(beta > 0 ? 0.5 / beta : 0)
    let beta = V(beta)
    let half = V(0.5) * beta
    weighted(V.self, inside) { inside in
        map(out, n) { i in
            let d = inside(i) * (V.load(a, i) - V.load(b, i))
            return V.select(V.less(d.magnitude, beta), curvature * d * d, d.magnitude - half)
        }
    }
}

@inline(__always)
func smoothL1Gradient<V: Vector>(
    _: V.Type, _ a: In, _ b: In, _ inside: In?, _ w: In?, _ beta: Double, _ c: Double, _ out: Out, _ n: Int
) {
    let slope = V(beta > 0 ? 1 / beta : 0)
    let beta = V(beta)
    let c = V(c)
    weighted(V.self, inside) { inside in
        weighted(V.self, w) { w in
            map(out, n) { i in
                let inside = inside(i)
                let d = inside * (V.load(a, i) - V.load(b, i))
                return (c * w(i) * inside) * V.select(V.less(d.magnitude, beta), slope * d, d.sign)
            }
        }
    }
}
