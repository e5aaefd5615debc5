import CSystem
import KernelTable

/// What the workers of a sweep compute in: one block for all of them, no part of it the size of a tensor.
struct Workspace {
    let histograms: Histograms?
    private let base: UnsafeMutableRawPointer
    private let inputs: Int
    private let slots: Int
    private let slotBytes: Int
    private let rings: Int
    private let ringBytes: Int
    private let laneBytes: Int
    private let workerBytes: Int

    init(_ sweep: Sweep, workers: Int) throws(LossError) {
        // Everything in multiples of 64 bytes.
        let elementBytes = sweep.isDouble ? 8 : 4
        // A cache line more than a power of two: the same element of many slots would share one of the cache's sets.
        slotBytes = sweep.blockSize * elementBytes + 64
        ringBytes = sweep.ringSize * elementBytes
        inputs = sweep.inputs.count
        slots = inputs + sweep.outputs.count + sweep.temporaries + (sweep.positions == nil ? 0 : 2)
        rings = sweep.rings
        laneBytes = max(1, sweep.sums) * KERNEL_SUM_LANES * 8
        let pointerBytes = ((inputs + sweep.outputs.count) * 8 + 63) & ~63

        // No ring is larger than a slot.
        let (most, overflow) = slotBytes.multipliedReportingOverflow(by: workers * (slots + rings))
        let isTooMuch = overflow || most > Int.max / 2
        workerBytes = isTooMuch ? 0 : slots * slotBytes + rings * ringBytes + laneBytes + pointerBytes
        base = try KeptMemory.scratch(isTooMuch ? Int.max : workers * workerBytes)
        do {
            histograms = try Histograms(sweep.histograms, digit: sweep.digit, workers: workers)
        } catch {
            KeptMemory.giveBack(base)
            throw error
        }
    }

    func free() { KeptMemory.giveBack(base) }

    func memory(of worker: Int) -> WorkerMemory {
        let slots = base + worker * workerBytes
        let rings = slots + self.slots * slotBytes
        let lanes = rings + self.rings * ringBytes
        let pointers = lanes + laneBytes
        return WorkerMemory(
            slots: slots, slotBytes: slotBytes, rings: rings, ringBytes: ringBytes,
            lanes: lanes.assumingMemoryBound(to: Double.self),
            inputs: pointers.assumingMemoryBound(to: UnsafeRawPointer.self),
            outputs: (pointers + inputs * 8).assumingMemoryBound(to: UnsafeMutableRawPointer.self),
            histograms: histograms?.counts(of: worker))
    }
}

/// One worker's part of it.
struct WorkerMemory {
    /// Blocks for operands that need a copy, for outputs, for what a body computes.
    let slots: UnsafeMutableRawPointer
    let slotBytes: Int
    /// Blocks of fewer rows than those.
    let rings: UnsafeMutableRawPointer
    let ringBytes: Int
    let lanes: UnsafeMutablePointer<Double>
    /// Where the block's operands are: their own memory or a slot.
    let inputs: UnsafeMutablePointer<UnsafeRawPointer>
    let outputs: UnsafeMutablePointer<UnsafeMutableRawPointer>
    let histograms: UnsafeMutablePointer<UInt32>?

    func slot(_ i: Int) -> UnsafeMutableRawPointer { slots + i * slotBytes }
    func ring(_ i: Int) -> UnsafeMutableRawPointer { rings + i * ringBytes }

    /// A chunk's sums: their lanes 16 → 8 → 4 → 2 → 1.
    func fold(_ sums: Int, into results: UnsafeMutablePointer<Double>) {
        for i in 0..<sums {
            let lanes = lanes + i * KERNEL_SUM_LANES
            var half = KERNEL_SUM_LANES / 2
            while half > 0 {
                for lane in 0..<half { lanes[lane] += lanes[lane + half] }
                half /= 2
            }
            results[i] = lanes[0]
        }
    }
}
