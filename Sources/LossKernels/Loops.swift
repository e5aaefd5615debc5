import KernelTable

// The loops that every kernel is one of. Kernels give what happens to the elements of a vector at an index.

@inline(__always) var sumBlock: Int { KERNEL_SUM_BLOCK }

/// out[i] = body(i)
@inline(__always)
func map<V: Vector>(_ out: UnsafeMutableRawPointer, _ n: Int, _ body: (Int) -> V) {
    var i = 0
    while i < n {
        body(i).store(out, i)
        i &+= V.width
    }
}

/// first[i], second[i] = body(i)
@inline(__always)
func map<V: Vector>(
    _ first: UnsafeMutableRawPointer, _ second: UnsafeMutableRawPointer, _ n: Int, _ body: (Int) -> (V, V)
) {
    var i = 0
    while i < n {
        let (a, b) = body(i)
        a.store(first, i)
        b.store(second, i)
        i &+= V.width
    }
}

/// One value of each of 16 or 32 elements, or several, that a loop adds up.
protocol Terms {
    static var width: Int { get }
    /// How many sums they are.
    static var count: Int { get }
    static var zero: Self { get }
    func plus(_ other: Self) -> Self
    /// Adds the lanes to 16 float64 lanes a sum.
    func addWidened(to sums: Sums)
}

struct Two<A: Terms, B: Terms>: Terms {
    var a: A
    var b: B

    @inline(__always) init(_ a: A, _ b: B) { (self.a, self.b) = (a, b) }
    @inline(__always) static var width: Int { A.width }
    @inline(__always) static var count: Int { A.count &+ B.count }
    @inline(__always) static var zero: Self { Self(A.zero, B.zero) }
    @inline(__always) func plus(_ other: Self) -> Self { Self(a.plus(other.a), b.plus(other.b)) }
    @inline(__always) func addWidened(to sums: Sums) {
        a.addWidened(to: sums)
        b.addWidened(to: sums + A.count &* 16)
    }
}

typealias Three<V: Terms> = Two<V, Two<V, V>>
typealias Four<V: Terms> = Two<Two<V, V>, Two<V, V>>

/// Adds Σ body(i) to 16 float64 lanes a sum, in pieces whose float32 sums start anew.
@inline(__always)
func sum<T: Terms>(_ n: Int, _ sums: Sums, _ body: (Int) -> T) {
    var i = 0
    while i < n {
        let end = min(i &+ sumBlock, n)
        var a = T.zero
        var b = T.zero
        while i < end {
            a = a.plus(body(i))
            if T.width < KERNEL_LANES { b = b.plus(body(i &+ 16)) }
            i &+= KERNEL_LANES
        }
        a.plus(b).addWidened(to: sums)
    }
}

/// A loop with weights, and the same without any: a factor of 1 costs nothing.
@inline(__always)
func weighted<V: Vector>(_: V.Type, _ w: In?, _ loop: ((Int) -> V) -> Void) {
    if let w {
        loop { V.load(w, $0) }
    } else {
        loop { _ in V(1) }
    }
}

/// Which of a vector's elements are among the first `count`: counted from i, where a float32 is exact.
@inline(__always)
func inside<V: Vector>(_: V.Type, _ i: Int, _ count: Int) -> V.Bits {
    V.less(V.positions, V(Double(count &- i)))
}

/// True if the masks of all groups have all lanes set.
@inline(__always)
func all<V: Vector>(_: V.Type, _ n: Int, _ body: (Int) -> V.Bits) -> Bool {
    var holds = V.whole(-1)
    var i = 0
    while i < n {
        holds = V.and(holds, body(i))
        i &+= V.width
    }
    return !V.any(V.not(holds))
}
