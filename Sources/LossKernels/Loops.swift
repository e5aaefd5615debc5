import KernelTable

/// The loops that every kernel is one of. Kernels give what happens to the sixteen elements at an index;
/// the loops take two such groups a turn, which is the 32 partial sums of the design.

@inline(__always) var sumBlock: Int { KERNEL_SUM_BLOCK }

/// out[i] = body(i)
@inline(__always)
func map<V: Vector>(_ out: UnsafeMutableRawPointer, _ n: Int, _ body: (Int) -> V) {
    var i = 0
    while i < n {
        let low = body(i)
        let high = body(i &+ 16)
        low.store(out, i)
        high.store(out, i &+ 16)
        i &+= 32
    }
}

/// Adds Σ body(i) to 16 float64 lanes, in pieces whose float32 sums start anew.
@inline(__always)
func sum<V: Vector>(_ n: Int, _ sums: UnsafeMutablePointer<Double>, _ body: (Int) -> V) {
    var i = 0
    while i < n {
        let end = min(i &+ sumBlock, n)
        var a = V(0)
        var b = V(0)
        while i < end {
            a = a + body(i)
            b = b + body(i &+ 16)
            i &+= 32
        }
        (a + b).addWidened(to: sums)
    }
}

@inline(__always)
func sum<V: Vector>(_ n: Int, _ sums: UnsafeMutablePointer<Double>, _ body: (Int) -> (V, V)) {
    var i = 0
    while i < n {
        let end = min(i &+ sumBlock, n)
        var a0 = V(0)
        var a1 = V(0)
        var b0 = V(0)
        var b1 = V(0)
        while i < end {
            let low = body(i)
            let high = body(i &+ 16)
            a0 = a0 + low.0
            a1 = a1 + low.1
            b0 = b0 + high.0
            b1 = b1 + high.1
            i &+= 32
        }
        (a0 + b0).addWidened(to: sums)
        (a1 + b1).addWidened(to: sums + 16)
    }
}

@inline(__always)
func sum<V: Vector>(_ n: Int, _ sums: UnsafeMutablePointer<Double>, _ body: (Int) -> (V, V, V)) {
    var i = 0
    while i < n {
        let end = min(i &+ sumBlock, n)
        var a0 = V(0)
        var a1 = V(0)
        var a2 = V(0)
        var b0 = V(0)
        var b1 = V(0)
        var b2 = V(0)
        while i < end {
            let low = body(i)
            let high = body(i &+ 16)
            a0 = a0 + low.0
            a1 = a1 + low.1
            a2 = a2 + low.2
            b0 = b0 + high.0
            b1 = b1 + high.1
            b2 = b2 + high.2
            i &+= 32
        }
        (a0 + b0).addWidened(to: sums)
        (a1 + b1).addWidened(to: sums + 16)
        (a2 + b2).addWidened(to: sums + 32)
    }
}

/// True if the mask of no group has a lane set.
@inline(__always)
func none<V: Vector>(_: V.Type, _ n: Int, _ body: (Int) -> V.Bits) -> Bool {
    var found = V.not(V.equal(V(0), V(0)))
    var i = 0
    while i < n {
        found = V.or(found, V.or(body(i), body(i &+ 16)))
        i &+= 32
    }
    return !V.any(found)
}
