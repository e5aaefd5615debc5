import CSystem
import KernelTable

// Which views share memory: the boundary refuses outputs that overlap anything they should not.

extension Tensor {
    /// Whether both describe the very same elements at the same places.
    func isSameView(as other: Tensor) -> Bool {
        guard data == other.data, type == other.type, shape == other.shape else { return false }
        // A stride that is never stepped means nothing.
        for i in 0..<shape.rank where shape[i] > 1 && strides[i] != other.strides[i] { return false }
        return true
    }

    /// Whether any byte belongs to both. Exact for slices of one buffer (interleaved channels do not overlap);
    /// where an exact answer would take too long it says yes.
    func overlaps(_ other: Tensor) -> Bool {
        guard count > 0, other.count > 0, span.overlaps(other.span) else { return false }
        // Some byte of ours equals some byte of theirs: Σ cᵢ·xᵢ = distance, each xᵢ in a range of whole numbers.
        var terms = Terms()
        terms.add(coefficient: 1, from: -(other.type.bytes - 1), to: type.bytes - 1)
        for i in 0..<shape.rank where shape[i] > 1 {
            terms.add(stride: strides[i] * type.bytes, extent: shape[i])
        }
        for i in 0..<other.shape.rank where other.shape[i] > 1 {
            terms.add(stride: -other.strides[i] * other.type.bytes, extent: other.shape[i])
        }
        let distance = Int(bitPattern: other.data) - Int(bitPattern: data)
        return terms.canReach(distance)
    }

    /// The addresses from its first byte to behind its last.
    private var span: Range<Int> {
        let start = Int(bitPattern: data)
        return start &- reach.before..<start &+ reach.after
    }

    /// A large output is often memory that was never touched: a fault for every 4 KB of it takes longer than the loss.
    func askForHugePages() {
        let page = 1 << 21
        guard count * type.bytes >= 2 * page else { return }
        let start = (span.lowerBound + page - 1) & ~(page - 1)
        let end = span.upperBound & ~(page - 1)
        if let start = UnsafeMutableRawPointer(bitPattern: start), end > Int(bitPattern: start) {
            csystem_huge_pages(start, UInt(end - Int(bitPattern: start)))
        }
    }

    /// Whether two subscripts name the same place (a broadcast stride, say): no gradient can be written there.
    /// Each stride, from the smallest, must step over all that the smaller ones reach.
    var overlapsItself: Bool {
        guard count > 0 else { return false }
        var order = Extents()
        for i in 0..<shape.rank where shape[i] > 1 {
            var at = order.rank
            order.append(i)
            while at > 0, abs(strides[order[at - 1]]) > abs(strides[i]) {
                order[at] = order[at - 1]
                at -= 1
            }
            order[at] = i
        }
        var reach = 0
        for position in 0..<order.rank {
            let i = order[position]
            guard abs(strides[i]) > reach else { return true }
            reach += abs(strides[i]) * (shape[i] - 1)
        }
        return false
    }
}

/// A sum of whole-number multiples, Σ cᵢ·xᵢ with aᵢ ≤ xᵢ ≤ bᵢ, largest coefficient first.
private struct Terms {
    var coefficients: [Int] = []
    var ranges: [(from: Int, to: Int)] = []

    mutating func add(stride: Int, extent: Int) {
        if stride > 0 { add(coefficient: stride, from: 0, to: extent - 1) }
        if stride < 0 { add(coefficient: -stride, from: 1 - extent, to: 0) }
    }

    mutating func add(coefficient: Int, from: Int, to: Int) {
        var at = 0
        while at < coefficients.count, coefficients[at] > coefficient { at += 1 }
        if at < coefficients.count, coefficients[at] == coefficient {
            ranges[at].from += from
            ranges[at].to += to
        } else {
            coefficients.insert(coefficient, at: at)
            ranges.insert((from, to), at: at)
        }
    }

    func canReach(_ target: Int) -> Bool {
        var steps = 10_000  // Slices of one buffer need a few dozen; past this the answer is a safe yes.
        return search(target, 0, &steps)
    }

    private func search(_ target: Int, _ term: Int, _ steps: inout Int) -> Bool {
        if term == coefficients.count { return target == 0 }
        var low = 0
        var high = 0  // What the smaller terms can add.
        for i in (term + 1)..<max(coefficients.count, term + 1) {
            low += coefficients[i] * ranges[i].from
            high += coefficients[i] * ranges[i].to
        }
        let c = coefficients[term]
        let first = max(ranges[term].from, Self.ceiling(target - high, c))
        let last = min(ranges[term].to, Self.floor(target - low, c))
        var x = first
        while x <= last {
            steps -= 1
            if steps < 0 { return true }
            if search(target - c * x, term + 1, &steps) { return true }
            x += 1
        }
        return false
    }

    private static func floor(_ a: Int, _ b: Int) -> Int { a >= 0 ? a / b : -((-a + b - 1) / b) }
    private static func ceiling(_ a: Int, _ b: Int) -> Int { -floor(-a, b) }
}
