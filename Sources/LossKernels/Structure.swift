import KernelTable

// The structure loss: windows of a plane, a row at a time, and the sums of a row.

/// sums[j] += entering[j] − leaving[j], in the rows' own type or in float64; nil counts as 0.
@inline(__always)
func columnSums<V: Sixteen>(_: V.Type, _ sums: Out, _ entering: In?, _ leaving: In?, _ n: Int, _ narrow: Bool) {
    @inline(__always) func own(_ row: In, _ i: Int) -> V { V.load(row, i) }
    @inline(__always) func wide(_ row: In, _ i: Int) -> V64 { V.loadWide(row, i) }
    if narrow { columnSums(sums, entering, leaving, n, own) } else { columnSums(sums, entering, leaving, n, wide) }
}

@inline(__always)
private func columnSums<A: Vector>(_ sums: Out, _ entering: In?, _ leaving: In?, _ n: Int, _ load: (In, Int) -> A) {
    let columns = In(sums)
    if let entering, let leaving {
        map(sums, n) { i in A.load(columns, i) + load(entering, i) - load(leaving, i) }
    } else if let entering {
        map(sums, n) { i in A.load(columns, i) + load(entering, i) }
    } else if let leaving {
        map(sums, n) { i in A.load(columns, i) - load(leaving, i) }
    }
}

/// w = 1 + gain·|mean of y over the window − y| along a row, 0 from `count` on; sums are of type A.
///
/// Sums of sixteen neighbours, which are sums of four sums of four, carry a window on by sixteen columns:
/// S[j+16] = S[j] + s16[j+r+1] − s16[j−r]. Whole vectors from memory, without a shuffle or a chain from column to column.
/// `columns` has zeros around it, and so has `sixteens`; `fours` and `sixteens` are where column 0 would be.
@inline(__always)
func structureWeights<V: Sixteen, A: Vector>(
    _ columns: In, _ fours: Out, _ sixteens: Out, _ radius: Int, _ y: In, _ widths: In?, _ divisor: Double,
    _ gain: Double, _ count: Int, _ out: Out, _ n: Int, _ rounded: (A) -> V
) {
    @inline(__always) func four(_ from: In, _ j: Int, _ step: Int) -> A {
        (A.load(from, j) + A.load(from, j &+ step)) + (A.load(from, j &+ 2 &* step) + A.load(from, j &+ 3 &* step))
    }
    var j = -16
    while j < n &+ 16 {
        four(columns, j, 1).store(fours, j)
        j &+= 16
    }
    j = -16
    while j < n {
        four(In(fours), j, 4).store(sixteens, j)
        j &+= 16
    }

    var sum = A(0)
    @inline(__always) func advance(_ j: Int) {
        sum = sum + (A.load(In(sixteens), j &+ (radius &- 15)) - A.load(In(sixteens), j &- (radius &+ 16)))
    }
    j = -((radius &+ 15) & ~15)
    while j < 0 {
        advance(j)
        j &+= 16
    }
    let gain = V(gain)
    @inline(__always) func weights(_ mean: (A, Int) -> A) {
        @inline(__always) func weight(_ j: Int) -> V {
            advance(j)
            return V(1).fma(gain, (rounded(mean(sum, j)) - V.load(y, j)).magnitude)
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
    let divisor = A(divisor)
    if let widths {
        weights { sum, j in sum / (divisor * A.load(widths, j)) }
    } else if A.bytes == 4 {
        weights { sum, _ in sum / divisor }
    } else {
        // The quotient, rounded as a division would, which takes longer: what is lost by multiplying comes back.
        let inverse = A(1) / divisor
        weights { sum, _ in
            let quotient = sum * inverse
            return quotient.fma(sum.fma(-quotient, divisor), inverse)
        }
    }
}

/// Σ pyw, Σ p(1−y)w, Σ (1−p)yw and Σ ℓm, ℓ being the cross-entropy.
@inline(__always)
func structureSums<V: Vector & Terms>(_: V.Type, _ x: In, _ y: In, _ w: In, _ m: In?, _ n: Int, _ sums: Sums) {
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
        return overlap.fma(c.fma(d, w), crossEntropySlope(s, y, V(1)))
    }
}

/// What a pixel by itself has of p(1−y) + (1−p)y over p + y − py + smooth: 0 where both are 0.
@inline(__always)
private func pixelOverlap<V: Vector>(_ p: V, _ q: V, _ y: V, _ smooth: V) -> (value: V, inverse: V) {
    let divisor = (p + smooth).fma(q, y)
    let inverse = (V(1) / divisor).keep(V.not(V.equal(divisor, V(0))))
    return ((p * (V(1) - y)).fma(q, y) * inverse, inverse)
}

/// Σ of that times w, and Σ ℓw.
@inline(__always)
func structurePixels<V: Vector & Terms>(_: V.Type, _ x: In, _ y: In, _ w: In, _ smooth: Double, _ n: Int, _ sums: Sums) {
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
        let slope = (smooth * V(1).fnma(V(2), y)).fnma(y, y) * (inverse * inverse)
        return (c * V.load(w, i)) * crossEntropySlope(s, y, V(1)).fma(slope, s.value * s.complement)
    }
}
