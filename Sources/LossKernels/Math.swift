/// Elementary functions on vectors: range reduction and a short series each, so that one text serves
/// float32 and float64, and every instruction set computes the same bits.
///
/// Bounds are of the distance from the true value in units of its last place (ulp), and held by Tests/Math: float32 over all
/// inputs, float64 over a sample against MPFR. In brackets the largest that is there, float32 then float64.
extension Vector {
    /// Natural logarithm. Error < 1 ulp (0.898, 0.80). log 0 = −∞, of a negative number NaN, log ∞ = ∞.
    ///
    /// x = m·2^e, f = m − 1, s = f/(2+f): log m = 2·atanh s = f − s·(f − R), R = Σ 2/(2k+1)·s^2k.
    /// Keeping f in front, exact, leaves the rounding of s only in the small correction.
    @inline(__always) func log() -> Self {
        let (m, e) = parts
        let f = m - Self(1)
        let s = f / (Self(2) + f)
        let z = s * s
        let series = Self.atanhSeries(z, Self.logTerms)
        let correction = (e * Self(Self.ln2.low)).fnma(s, f.fnma(series, z))
        let result = (f + correction).fma(e, Self(Self.ln2.high))
        // Outside (0, ∞): −∞ at 0, NaN below, x itself above (∞ or NaN).
        let special = Self.select(
            Self.equal(self, Self(0)), Self(-Double.infinity),
            Self.select(Self.less(self, Self(0)), Self(Double.nan), self))
        let ordinary = Self.and(Self.less(Self(0), self), Self.less(self, Self(Double.infinity)))
        return Self.select(ordinary, result, special)
    }

    /// Σ 2/(2k+1)·z^(k−1), k from 1 to `terms`.
    @inline(__always) private static func atanhSeries(_ z: Self, _ terms: Int) -> Self {
        var series = Self(2 / Double(2 * terms + 1))
        countdown(terms - 1) { k in series = Self(2 / Double(2 * k + 1)).fma(series, z) }
        return series
    }

    /// log(1 + d) for −1 ≤ d ≤ 1. Error < 2 ulp (1.549, 1.41).
    ///
    /// With u = 1 + d rounded, the rounding d − (u − 1) comes back to first order as a quotient by u;
    /// 1/u = 1 − d + d² … is enough, since what it multiplies is half an ulp of 1.
    @inline(__always) static func log1p(_ d: Self) -> Self {
        let u = Self(1) + d
        let lost = d - (u - Self(1))
        return u.log().fma(lost, Self(1).fnma(d, Self(1) - d))
    }

    /// log(1 + d) for 0 ≤ d, within 2 ulp: beyond 1 the rounding of 1 + d loses nothing that counts.
    @inline(__always) static func logOnePlus(_ d: Self) -> Self {
        let u = Self(1) + d
        let lost = (d - (u - Self(1))) * Self(1).fnma(d, Self(1) - d)
        return u.log() + lost.keep(not(less(Self(1), d)))
    }

    /// The same for 0 ≤ d ≤ 1, without a reduction: s = d/(2+d) ≤ 1/3, and d itself is the exact part.
    /// Error < 2 ulp (1.055, 1.01).
    @inline(__always) static func log1p(fraction d: Self) -> Self {
        let s = d / (Self(2) + d)
        let z = s * s
        let series = Self.atanhSeries(z, Self.log1pTerms)
        return d.fnma(s, d.fnma(series, z))
    }

    /// e^x. Error < 1 ulp (0.939, 0.83), 2 units of the smallest number where it is subnormal (0.850, 0.73). Overflows to ∞, underflows to 0.
    @inline(__always) func exp() -> Self {
        let (n, r, h) = expParts
        return Self(1).fma(h, r).scaled(byPowerOfTwo: n)
    }

    /// The same bits for x ≤ 0, in two thirds of the instructions: a power of two 2^lift times too large is never
    /// subnormal, so that it takes one step, and is read off the sum that rounds n.
    @inline(__always) func expOfNegative() -> Self {
        let x = Self.max(Self(-Self.underflow), self)
        let sum = Self(Self.powerSum).fma(x, Self(1.4426950408889634))
        let (r, h) = reduced(x, sum - Self(Self.powerSum))
        return Self(1).fma(h, r) * sum.powerOfSum * Self(Self.unlift)
    }

    /// 1 − e^x for x ≤ 0, with the digits that it has near 0. Error < 2 ulp (1.221, 1.36).
    @inline(__always) func oneMinusExp() -> Self {
        let (n, r, h) = expParts
        let power = Self(1).scaled(byPowerOfTwo: n)
        return (Self(1) - power).fnma(power, h * r)
    }

    /// x = n·ln 2 + r, |r| ≤ ½ ln 2, and e^r = 1 + h·r: e^x = 2^n·(1 + h·r).
    @inline(__always) private var expParts: (n: Self, r: Self, h: Self) {
        let x = Self.max(Self(-Self.expLimit), Self.min(Self(Self.expLimit), self))
        let n = (x * Self(1.4426950408889634)).rounded()
        let (r, h) = reduced(x, n)
        return (n, r, h)
    }

    /// e^r = Σ r^k/k! = 1 + h·r.
    @inline(__always) private func reduced(_ x: Self, _ n: Self) -> (r: Self, h: Self) {
        let r = x.fma(n, Self(-Self.ln2.high)).fma(n, Self(-Self.ln2.low))
        var factorial = 1.0
        countdown(Self.expTerms) { k in factorial *= Double(k) }
        var series = Self(1 / factorial)
        countdown(Self.expTerms - 1) { k in
            factorial /= Double(k + 1)
            series = Self(1 / factorial).fma(series, r)
        }
        return (r, series)
    }

    /// √x and 1/√x for x ≥ 2^−125 (half of what is smaller is subnormal), ∞ included. Error < 1 ulp (0.645, 0.51) and
    /// < 2 ulp (1.218, 1.16).
    ///
    /// Newton's steps, because the standard library's root stays a call for each lane in a module of this size.
    @inline(__always) func squareRoot() -> (root: Self, inverse: Self) {
        let half = Self(0.5) * self
        var y = inverseRootEstimate
        var k = 0
        while k < Self.rootSteps {
            y = y.fma(y, Self(0.5) - (half * y) * y)
            k += 1
        }
        let root = self * y
        let corrected = root.fma(fma(-root, root), Self(0.5) * y)
        let infinite = Self.equal(self, Self(Double.infinity))
        return (Self.select(infinite, self, corrected), y.keep(Self.not(infinite)))
    }

    /// σ(x) and 1 − σ(x), each with all its digits: e/(1+e) and 1/(1+e) with e = e^−|x|. Error < 3 ulp (2.781, 2.16).
    @inline(__always) func sigmoid() -> (value: Self, complement: Self) {
        let e = (-magnitude).expOfNegative()
        let large = Self(1) / (Self(1) + e)
        let small = e * large
        let negative = Self.less(self, Self(0))
        return (Self.select(negative, small, large), Self.select(negative, large, small))
    }
}

/// body(n) down to body(1), n ≤ 16, one after the other: of a loop the compiler may make a loop, with divisions for coefficients.
@inline(__always)
private func countdown(_ n: Int, _ body: (Int) -> Void) {
    if n > 15 { body(16) }
    if n > 14 { body(15) }
    if n > 13 { body(14) }
    if n > 12 { body(13) }
    if n > 11 { body(12) }
    if n > 10 { body(11) }
    if n > 9 { body(10) }
    if n > 8 { body(9) }
    if n > 7 { body(8) }
    if n > 6 { body(7) }
    if n > 5 { body(6) }
    if n > 4 { body(5) }
    if n > 3 { body(4) }
    if n > 2 { body(3) }
    if n > 1 { body(2) }
    if n > 0 { body(1) }
}
