import KernelTable

// Counting by order keys, for the selection of the K largest without a sort.

/// Counts digits of `bits` bits above `shift` of the keys whose bits above that are `prefix`.
///
/// Vector code makes sixteen keys, scalar code counts them, but for what is most frequent: sixteen of one digit in the first
/// round (masked elements have one value, and counting them one by one waits for the memory each time), and in the others
/// sixteen with another prefix.
@inline(__always)
func histogram<V: Sixteen>(
    _: V.Type, _ v: In, _ count: Int, _ shift: Int, _ bits: Int, _ prefix: UInt64,
    _ counts: UnsafeMutablePointer<UInt32>
) {
    let low = UInt64(truncatingIfNeeded: shift)
    let high = UInt64(truncatingIfNeeded: bits)
    let mask = (1 &<< high) &- 1 as UInt64
    // The first round's bins are all that stands above the shift.
    let isFirst = shift &+ bits == V.bytes &* 8
    var orders = V.load(v, 0).order
    withUnsafeMutableBytes(of: &orders) { orders in
        let keys = orders.baseAddress.unsafelyUnwrapped
        var start = 0
        while start < count {
            let order = V.load(v, start).order
            V.storeBits(order, keys, 0)
            let size = Swift.min(16, count &- start)
            var i = 0
            if isFirst {
                let first = V.key(In(keys), 0) &>> low
                let others = V.not(V.orderEqual(V.heads(order, above: shift), V.head(first, above: shift)))
                if size == 16, !V.any(others) {
                    counts[Int(truncatingIfNeeded: first)] &+= 16
                } else {
                    while i < size {
                        counts[Int(truncatingIfNeeded: V.key(In(keys), i) &>> low)] &+= 1
                        i &+= 1
                    }
                }
            } else if V.any(V.orderEqual(V.heads(order, above: shift &+ bits), V.head(prefix, above: shift &+ bits))) {
                while i < size {
                    let key = V.key(In(keys), i) &>> low
                    if key &>> high == prefix { counts[Int(truncatingIfNeeded: key & mask)] &+= 1 }
                    i &+= 1
                }
            }
            start &+= 16
        }
    }
}

@inline(__always)
func sumAbove<V: Vector & Terms>(_: V.Type, _ v: In, _ shift: Int, _ prefix: UInt64, _ n: Int, _ sums: Sums) {
    let head = V.head(prefix, above: shift)
    sum(n, sums) { i in
        let v = V.load(v, i)
        return v.keep(V.orderGreater(V.heads(v.order, above: shift), head))
    }
}

@inline(__always)
func countEqual<V: Vector & Terms>(_: V.Type, _ v: In, _ threshold: Double, _ count: Int) -> Int {
    let threshold = V(threshold).order
    let one = V(1)
    var lanes = V64(0)
    return withUnsafeMutableBytes(of: &lanes) { raw in
        let lanes = raw.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: Double.self)
        sum((count &+ 31) & ~31, lanes) { i in
            return one.keep(V.and(inside(V.self, i, count), V.orderEqual(V.load(v, i).order, threshold)))
        }
        var total = 0.0
        for lane in 0..<16 { total += lanes[lane] }
        return Int(total)
    }
}

@inline(__always)
func selected<V: Vector>(_: V.Type, _ v: In, _ w: In, _ threshold: Double, _ last: Int, _ out: Out, _ n: Int) {
    let threshold = V(threshold).order
    let last = V(Double(last))
    map(out, n) { i in
        let order = V.load(v, i).order
        let early = V.not(V.less(last, V(Double(i)) + V.positions))
        let taken = V.or(
            V.orderGreater(order, threshold), V.and(V.orderEqual(order, threshold), early))
        return V.load(w, i).keep(taken)
    }
}
