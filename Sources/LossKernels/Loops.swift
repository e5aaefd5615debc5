import KernelTable

/// The loops that every kernel is one of. Kernels give what happens to the sixteen elements at an index;
/// the loops take two such groups a turn, which is the 32 partial sums of the design.
///
/// Two groups hide each other's latency. One at a time spills half as much with AVX2's sixteen registers, and overlap losses
/// take up to a fifth longer.

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
        i &+= 16
    }
}

/// One value a lane, or several, that a loop adds up.
protocol Terms {
    /// How many sums they are.
    static var count: Int { get }
    static var zero: Self { get }
    static func + (a: Self, b: Self) -> Self
    /// Adds the lanes to 16 float64 lanes a sum.
    func addWidened(to sums: Sums)
}

struct Two<A: Terms, B: Terms>: Terms {
    var a: A
    var b: B

    @inline(__always) init(_ a: A, _ b: B) { (self.a, self.b) = (a, b) }
    @inline(__always) static var count: Int { A.count &+ B.count }
    @inline(__always) static var zero: Self { Self(A.zero, B.zero) }
    @inline(__always) static func + (x: Self, y: Self) -> Self { Self(x.a + y.a, x.b + y.b) }
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
            a = a + body(i)
            b = b + body(i &+ 16)
            i &+= 32
        }
        (a + b).addWidened(to: sums)
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

/// Which of the sixteen are among the first `count`: counted from there, where a float32 is exact.
@inline(__always)
func inside<V: Vector>(_: V.Type, _ i: Int, _ count: Int) -> V.Bits {
    V.less(V(Double(i &- count)) + V.positions, V(0))
}

/// True if the masks of all groups have all lanes set.
@inline(__always)
func all<V: Vector>(_: V.Type, _ n: Int, _ body: (Int) -> V.Bits) -> Bool {
    // Two, as the compiler takes a mask that joins two groups apart.
    var even = V.whole(-1)
    var odd = even
    var i = 0
    while i < n {
        even = V.and(even, body(i))
        odd = V.and(odd, body(i &+ 16))
        i &+= 32
    }
    return !V.any(V.not(V.and(even, odd)))
}
