import KernelTable

// Counting by order keys, for the selection of the K largest without a sort.

@inline(__always)
func histogram<V: Vector>(
    _: V.Type, _ v: In, _ count: Int, _ round: Int, _ prefix: UInt64, _ counts: UnsafeMutablePointer<UInt32>
) {
    let shift = UInt64(truncatingIfNeeded: V.bytes &* 8 &- 16 &* (round &+ 1))
    // Keys of 128 elements at a time (1 KB of stack at most): vector code makes them, scalar code counts them.
    withUnsafeTemporaryAllocation(byteCount: 128 &* V.bytes, alignment: 64) { keys in
        let keys = keys.baseAddress.unsafelyUnwrapped
        var start = 0
        while start < count {
            let size = Swift.min(128, count &- start)
            var i = 0
            while i < size {
                V.storeOrder(V.load(v, start &+ i).order, keys, i)
                i &+= 16
            }
            i = 0
            if round == 0 {
                while i < size {
                    counts[Int(truncatingIfNeeded: V.key(In(keys), i) &>> shift)] &+= 1
                    i &+= 1
                }
            } else {
                while i < size {
                    let key = V.key(In(keys), i) &>> shift
                    if key &>> 16 == prefix { counts[Int(truncatingIfNeeded: key & 0xFFFF)] &+= 1 }
                    i &+= 1
                }
            }
            start &+= size
        }
    }
}

@inline(__always)
func sumAbove<V: Vector>(_: V.Type, _ v: In, _ prefix: UInt64, _ n: Int, _ sums: Sums) {
    sum(n, sums) { i in
        let v = V.load(v, i)
        return v.keep(V.prefixAbove16(v.order, exceeds: prefix))
    }
}

@inline(__always)
func countEqual<V: Vector>(_: V.Type, _ v: In, _ threshold: Double, _ count: Int) -> Int {
    let threshold = V(threshold).order, one = V(1)
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: 16) { sums in
        let lanes = sums.baseAddress.unsafelyUnwrapped
        V64(0).store(lanes, 0)
        sum((count &+ 31) & ~31, lanes) { i in
            let inside = V.less(V(Double(i)) + V.positions, V(Double(count)))
            return one.keep(V.and(inside, V.orderEqual(V.load(v, i).order, threshold)))
        }
        var total = 0.0
        for lane in 0..<16 { total += lanes[lane] }
        return Int(total)
    }
}

@inline(__always)
func selected<V: Vector>(_: V.Type, _ v: In, _ w: In, _ threshold: Double, _ last: Int, _ out: Out, _ n: Int) {
    let threshold = V(threshold).order, last = V(Double(last))
    map(out, n) { i in
        let order = V.load(v, i).order
        let early = V.not(V.less(last, V(Double(i)) + V.positions))
        let taken = V.or(
            V.orderGreater(order, threshold), V.and(V.orderEqual(order, threshold), early))
        return V.load(w, i).keep(taken)
    }
}
