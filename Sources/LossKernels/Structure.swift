import KernelTable

// The structure loss: windows of a plane, a row at a time, and the sums of a row.

/// sums[j] += entering[j] − leaving[j], in float64; nil counts as 0.
@inline(__always)
func columnSums<V: Vector>(_: V.Type, _ sums: Sums, _ entering: In?, _ leaving: In?, _ n: Int) {
    let columns = In(sums)
    let out = Out(sums)
    if let entering, let leaving {
        map(out, n) { i in V64.load(columns, i) + V.loadWide(entering, i) - V.loadWide(leaving, i) }
    } else if let entering {
        map(out, n) { i in V64.load(columns, i) + V.loadWide(entering, i) }
    } else if let leaving {
        map(out, n) { i in V64.load(columns, i) - V.loadWide(leaving, i) }
    }
}

/// w = 1 + gain·|mean of y over the window − y| along a row, 0 from `count` on.
///
/// Sums of sixteen neighbours, which are sums of four sums of four, carry a window on by sixteen columns:
/// S[j+16] = S[j] + s16[j+r+1] − s16[j−r]. Whole vectors from memory, without a shuffle or a chain from column to column.
/// `columns` has zeros around it, and so has `sixteens`; `fours` and `sixteens` are where column 0 would be.
@inline(__always)
func structureWeights<V: Vector>(
    _: V.Type, _ columns: UnsafePointer<Double>, _ fours: Sums, _ sixteens: Sums, _ radius: Int, _ y: In,
    _ widths: UnsafePointer<Double>?, _ divisor: Double, _ gain: Double, _ count: Int, _ out: Out, _ n: Int
) {
    let column = In(columns)
    var j = -16
    while j < n &+ 16 {
        let a = V64.load(column, j) + V64.load(column, j &+ 1)
        let b = V64.load(column, j &+ 2) + V64.load(column, j &+ 3)
        (a + b).store(Out(fours), j)
        j &+= 16
    }
    j = -16
    while j < n {
        let a = V64.load(In(fours), j) + V64.load(In(fours), j &+ 4)
        let b = V64.load(In(fours), j &+ 8) + V64.load(In(fours), j &+ 12)
        (a + b).store(Out(sixteens), j)
        j &+= 16
    }

    var sum = V64(0)
    let entering = In(sixteens + (radius &- 15))
    let leaving = In(sixteens - (radius &+ 16))
    @inline(__always) func advance(_ j: Int) { sum = sum + (V64.load(entering, j) - V64.load(leaving, j)) }
    j = -((radius &+ 15) & ~15)
    while j < 0 {
        advance(j)
        j &+= 16
    }
    let gain = V(gain)
    @inline(__always) func weights(_ mean: (V64, Int) -> V64) {
        @inline(__always) func weight(_ j: Int) -> V {
            advance(j)
            return V(1).fma(gain, (V(narrowing: mean(sum, j)) - V.load(y, j)).magnitude)
        }
        j = 0
        while j < n &- 32 {
            weight(j).store(out, j)
            j &+= 16
        }
        while j < n {
            weight(j).keep(inside(V.self, j, count)).store(out, j)
            j &+= 16
        }
    }
    let divisor = V64(divisor)
    if let widths {
        weights { sum, j in sum / (divisor * V64.load(In(widths), j)) }
    } else {
        // The quotient, rounded as a division would: what is lost by multiplying comes back.
        let inverse = V64(1) / divisor
        weights { sum, _ in
            let quotient = sum * inverse
            return quotient.fma(sum.fma(-quotient, divisor), inverse)
        }
    }
}

/// Σ pyw, Σ p(1−y)w, Σ (1−p)yw and Σ ℓm, ℓ being the cross-entropy.
@inline(__always)
func structureSums<V: Vector>(_: V.Type, _ x: In, _ y: In, _ w: In, _ m: In?, _ n: Int, _ sums: Sums) {
    weighted(V.self, m) { m in
        sum(n, sums) { i in
            let x = V.load(x, i)
            let y = V.load(y, i)
            let s = x.sigmoid()
            return Two(overlapTerms(s.value, s.complement, y, V.load(w, i)), crossEntropy(x, y, V(1)) * m(i))
        }
    }
}

/// w·(a·y + b)·p(1−p) + (c + d·w)·(p − y)
@inline(__always)
func structureGradient<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In, _ a: Double, _ b: Double, _ c: Double, _ d: Double, _ out: Out, _ n: Int
) {
    let a = V(a)
    let b = V(b)
    let c = V(c)
    let d = V(d)
    map(out, n) { i in
        let y = V.load(y, i)
        let w = V.load(w, i)
        let s = V.load(x, i).sigmoid()
        let overlap = w * b.fma(a, y) * (s.value * s.complement)
        return overlap.fma(c.fma(d, w), (V(1) - y) * s.value - y * s.complement)
    }
}

/// What a pixel by itself has of p(1−y) + (1−p)y over p + y − py + smooth: 0 where both are 0.
@inline(__always)
private func pixelOverlap<V: Vector>(_ p: V, _ q: V, _ y: V, _ smooth: V) -> (value: V, inverse: V) {
    let divisor = p + q * y + smooth
    let inverse = (V(1) / divisor).keep(V.not(V.equal(divisor, V(0))))
    return ((p * (V(1) - y) + q * y) * inverse, inverse)
}

/// Σ of that times w, and Σ ℓw.
@inline(__always)
func structurePixels<V: Vector>(_: V.Type, _ x: In, _ y: In, _ w: In, _ smooth: Double, _ n: Int, _ sums: Sums) {
    let smooth = V(smooth)
    sum(n, sums) { i in
        let x = V.load(x, i)
        let y = V.load(y, i)
        let w = V.load(w, i)
        let s = x.sigmoid()
        return Two(pixelOverlap(s.value, s.complement, y, smooth).value * w, crossEntropy(x, y, V(1)) * w)
    }
}

/// c·w·(p − y + p(1−p)·(smooth·(1 − 2y) − y²)/divisor²)
@inline(__always)
func structurePixelsGradient<V: Vector>(
    _: V.Type, _ x: In, _ y: In, _ w: In, _ smooth: Double, _ c: Double, _ out: Out, _ n: Int
) {
    let smooth = V(smooth)
    let c = V(c)
    map(out, n) { i in
        let y = V.load(y, i)
        let s = V.load(x, i).sigmoid()
        let inverse = pixelOverlap(s.value, s.complement, y, smooth).inverse
        let slope = (smooth * (V(1) - V(2) * y) - y * y) * (inverse * inverse)
        let logits = (V(1) - y) * s.value - y * s.complement
        return (c * V.load(w, i)) * logits.fma(slope, s.value * s.complement)
    }
}
