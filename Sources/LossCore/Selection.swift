import KernelTable

/// The K largest of a set of values, found without sorting and without storing them.
///
/// Values map to order keys of 32 or 64 bits. Each round counts the next digit (8 or 16 bits) of the keys that agree
/// with what is known of the K-th one, and so finds that digit of it. The last round also adds up what lies above its
/// bins, and the bins themselves hold whole values: count × value. Ties at the K-th value go to the lowest index.
struct Selection {
    /// Σ of the selected values.
    var sum: Double
    /// Selected are the values above this one, and those equal to it at logical indices up to `last`.
    var threshold: Double
    var last: Double

    /// Nothing: only NaN is not below NaN in the order of keys, and no index is ≤ −1.
    static let none = Selection(sum: 0, threshold: .nan, last: -1)

    /// As statistics hold it.
    var entries: [Double] { [sum, threshold, last] }

    /// Position of `last` in a block, for the kernel `selected`.
    func last(in block: Block) -> Int {
        Int(max(-1, min(last - Double(block.start), Double(block.count))))
    }
}

/// Counts of digits of order keys: 2^digit bins in each histogram, and of these as many as there are workers, each of which
/// clears its own before it counts. Whose sweep made them gives their memory back.
public struct Histograms {
    private var memory: UnsafeMutablePointer<UInt32>
    private let digit: Int
    private let workers: Int
    /// Bins of one worker.
    private let bins: Int

    /// Nil if there are none.
    init?(_ count: Int, digit: Int, workers: Int) throws(LossError) {
        guard count > 0 else { return nil }
        (self.digit, self.workers) = (digit, workers)
        bins = count << digit
        memory = try KeptMemory.scratch(workers * bins * 4).assumingMemoryBound(to: UInt32.self)
    }

    func free() { KeptMemory.giveBack(memory) }

    func counts(of worker: Int) -> UnsafeMutablePointer<UInt32> { memory + worker * bins }

    /// The same memory from histogram i on.
    func dropFirst(_ i: Int) -> Histograms {
        var rest = self
        rest.memory += i << digit
        return rest
    }

    /// All workers' count in a bin of the first histogram.
    subscript(bin: Int) -> Int {
        var count = 0
        for worker in 0..<workers { count += Int(counts(of: worker)[bin]) }
        return count
    }

    func isEmpty(_ bins: Range<Int>) -> Bool {
        var any: UInt32 = 0
        for worker in 0..<workers {
            let counts = counts(of: worker)
            for bin in bins { any |= counts[bin] }
        }
        return any == 0
    }
}

extension Sweep {
    /// The `k` largest of the values that `value` gives for a block, over the chunks of `within` (default: all).
    ///
    /// `counted` may hold the first round's histogram, counted in an earlier pass.
    func selectLargest(
        _ k: Int, within: Range<Int>? = nil, counted: Histograms? = nil, _ value: (Block) -> UnsafeRawPointer
    ) throws(LossError) -> Selection {
        let count = within == nil ? groups * groupSize : groupSize
        guard count <= Int(UInt32.max) else {
            throw LossError(.unsupported, "selection among \(count) elements: at most \(UInt32.max) are supported")
        }
        let k = min(k, count)
        guard k > 0 else { return .none }

        var sweep = self
        sweep.histograms = 1
        sweep.checksValues = false
        let rounds = Int(kernels.key_bits) / digit
        var prefix: UInt64 = 0
        var remaining = k
        var selection = Selection.none
        for round in 0..<rounds {
            let isLast = round == rounds - 1
            sweep.sums = isLast ? 1 : 0
            let above = prefix
            var own: Histograms?
            defer { own?.free() }
            if round > 0 || counted == nil {
                let result = try sweep.run(within: within) { b in
                    let v = value(b)
                    b.count(v, round: round, prefix: above, in: 0)
                    if isLast { b.kernels.sum_above(v, Int32(digit), above, b.padded, b.sums(0)) }
                }
                own = result.histograms
                if isLast { selection.sum = result.sums[0] }
            }
            guard let histograms = own ?? counted else { return .none }
            var bin = 1 << digit
            while bin > 0 {
                // Most bins are empty: those above all values, and nearly all of the last round.
                if bin & 63 == 0, histograms.isEmpty(bin - 64..<bin) {
                    bin -= 64
                    continue
                }
                bin -= 1
                let here = histograms[bin]
                guard here < remaining else { break }
                if isLast, here > 0 {
                    selection.sum += Double(here) * kernels.value_of_key(prefix << digit | UInt64(bin))
                }
                remaining -= here
            }
            prefix = prefix << digit | UInt64(bin)
            if isLast {
                selection.threshold = kernels.value_of_key(prefix)
                selection.sum += Double(remaining) * selection.threshold
                let areAllTaken = histograms[bin] == remaining
                selection.last =
                    areAllTaken
                    ? .infinity
                    : Double(try index(ofTie: remaining, equalTo: selection.threshold, within: within, value))
            }
        }
        return selection
    }

    /// Logical index of the n-th element (from 1) that equals `threshold`.
    private func index(
        ofTie n: Int, equalTo threshold: Double, within: Range<Int>?, _ value: (Block) -> UnsafeRawPointer
    ) throws(LossError) -> Int {
        var sweep = self
        sweep.checksValues = false
        sweep.histograms = 0
        sweep.sums = 1
        let ties = try sweep.run(within: within) { b in
            b.add(Double(b.kernels.count_equal(value(b), threshold, b.count)), to: 0)
        }.chunkSums
        var chunk = 0
        var remaining = n
        while chunk < ties.count - 1, Int(ties[chunk]) < remaining {
            remaining -= Int(ties[chunk])
            chunk += 1
        }
        let place = (within?.lowerBound ?? 0) + chunk
        sweep.sums = 0
        var found = -1
        withUnsafeMutablePointer(to: &found) { found in
            withUnsafeMutablePointer(to: &remaining) { remaining in
                // One chunk, hence one thread, in order.
                _ = try? sweep.run(within: place..<place + 1) { b in
                    guard found.pointee < 0 else { return }
                    let v = value(b)
                    let here = b.kernels.count_equal(v, threshold, b.count)
                    if here < remaining.pointee {
                        remaining.pointee -= here
                        return
                    }
                    // The shortest beginning of the block that holds as many ties as are wanted.
                    var low = 1
                    var high = b.count
                    while low < high {
                        let middle = (low + high) / 2
                        if b.kernels.count_equal(v, threshold, middle) >= remaining.pointee {
                            high = middle
                        } else {
                            low = middle + 1
                        }
                    }
                    found.pointee = b.start + low - 1
                }
            }
        }
        return found
    }
}
