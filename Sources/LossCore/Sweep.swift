import CSystem
import KernelTable

/// What to do about NaN and infinity in the inputs.
public enum NonFinitePolicy: Int32, Sendable {
    /// Compute what the formula gives.
    case propagate = 0
    /// Refuse the call.
    case refuse = 1
    /// Elements whose mask is exactly 0 count as 0, whatever they hold.
    case skipMasked = 2
}

/// How a call is to be carried out.
public struct Execution: Sendable {
    /// 0 = as many as `Threads.count` says.
    public var threads: Int
    public var nonFinite: NonFinitePolicy
    var dispatch: Dispatch

    public init(threads: Int = 0, nonFinite: NonFinitePolicy = .propagate) {
        self.init(threads: threads, nonFinite: nonFinite, dispatch: .current)
    }

    init(threads: Int, nonFinite: NonFinitePolicy, dispatch: Dispatch) {
        self.threads = threads
        self.nonFinite = nonFinite
        self.dispatch = dispatch
    }
}

/// An input of a sweep, and what is asked of its values.
struct Operand {
    var tensor: Tensor
    /// The operand that masks this one.
    var mask: Int?
    /// Refuse values outside [0, 1], and NaN.
    var isProbability = false

    init(_ tensor: Tensor, mask: Int? = nil, isProbability: Bool = false) {
        self.tensor = tensor
        self.mask = mask
        self.isProbability = isProbability
    }
}

/// One block of a sweep: up to 8192 elements of every operand, side by side in the compute type.
public struct Block {
    let kernels: Kernels
    /// Logical index of the first element, and the group that it is in.
    let start: Int
    let group: Int
    /// The elements, and the same padded with zeros to a multiple of 32: what kernels take.
    let count: Int
    let padded: Int

    fileprivate let inputs: UnsafeMutablePointer<UnsafeRawPointer>
    fileprivate let outputs: UnsafeMutablePointer<UnsafeMutableRawPointer>
    fileprivate let temporaries: UnsafeMutableRawPointer
    fileprivate let slotBytes: Int
    fileprivate let lanes: UnsafeMutablePointer<Double>
    fileprivate let histograms: UnsafeMutablePointer<UInt32>?
    fileprivate let digit: Int

    func input(_ i: Int) -> UnsafeRawPointer { inputs[i] }
    func output(_ i: Int) -> UnsafeMutableRawPointer { outputs[i] }
    /// A block in the cache to compute in.
    func temporary(_ i: Int) -> UnsafeMutableRawPointer { temporaries + i * slotBytes }
    /// The float64 lanes of sum i.
    func sums(_ i: Int) -> UnsafeMutablePointer<Double> { lanes + i * KERNEL_SUM_LANES }
    /// Adds a single number to sum i.
    func add(_ value: Double, to i: Int) { sums(i).pointee += value }
    /// Counts the elements of v in this thread's histogram i, if the sweep has any: in round r by the r-th digit of
    /// their order keys, among those whose digits before it are `prefix`.
    func count(_ v: UnsafeRawPointer, round: Int = 0, prefix: UInt64 = 0, in i: Int) {
        guard let histograms else { return }
        let shift = kernels.key_bits - Int32(digit * (round + 1))
        kernels.histogram(v, count, shift, Int32(digit), prefix, histograms + i << digit)
    }
}

/// One pass over the elements of a call: in blocks, on several threads, with sums whose bits depend on neither.
///
/// The logical range of each group is cut into chunks of 65536 elements and those into blocks; sums start anew at every
/// chunk, and chunks add up in order. A body that calls several kernels on one block is a fused pass: the block stays
/// in the cache between them.
struct Sweep {
    static let chunk = 65536

    let execution: Execution
    /// Inputs in logical order; all have `groups` × `groupSize` elements.
    let inputs: [Operand]
    /// Gradients to write; what goes to a nil one is dropped.
    var outputs: [Tensor?] = []
    var groups = 1
    let groupSize: Int
    /// Sums that the body reports for each group.
    var sums = 0
    /// Blocks of scratch that the body uses.
    var temporaries = 0
    /// Histograms of 2^digit bins, added over all groups.
    var histograms = 0
    /// Bits of a selection's order keys that one round finds: few where counting elements takes less than clearing and
    /// reading 65536 bins.
    var digit: Int { groupSize <= Self.chunk ? 8 : 16 }
    /// Whether inputs are checked: once a call is enough.
    var checksValues = false

    var kernels: Kernels { isDouble ? execution.dispatch.kernels.f64 : execution.dispatch.kernels.f32 }
    private var conversions: Conversions {
        isDouble ? execution.dispatch.kernels.to_f64 : execution.dispatch.kernels.to_f32
    }
    let isDouble: Bool

    init(
        _ execution: Execution, inputs: [Operand], outputs: [Tensor?] = [], like prediction: Tensor, groups: Int = 1,
        sums: Int = 0, temporaries: Int = 0, histograms: Int = 0, checksValues: Bool = false
    ) {
        self.execution = execution
        self.inputs = inputs
        self.outputs = outputs
        self.groups = groups
        self.groupSize = groups == 0 ? 0 : prediction.count / groups
        self.sums = sums
        self.temporaries = temporaries
        self.histograms = histograms
        self.checksValues = checksValues
        self.isDouble = prediction.type == .f64
    }

    struct Result {
        /// groups × sums.
        var sums: [Double] = []
        /// chunks × sums: what `sums` adds up.
        var chunkSums: [Double]
        var histograms: [UInt32] = []
    }

    /// Runs the body on every block, or on those of `within` (whole chunks of one group).
    @discardableResult
    func run(within: Range<Int>? = nil, _ body: (Block) -> Void) throws(LossError) -> Result {
        let chunksPerGroup = (groupSize + Self.chunk - 1) / Self.chunk
        let firstChunk = within.map { $0.lowerBound } ?? 0
        let chunks = within.map { $0.count } ?? groups * chunksPerGroup
        // Waking a thread costs as much as two chunks or so.
        let wanted = execution.threads > 0 ? min(execution.threads, Threads.maximum) : Threads.available
        let workers = max(1, min(wanted, chunks < 4 ? 1 : chunks))

        let elementBytes = isDouble ? 8 : 4
        let slotBytes = min(KERNEL_BLOCK, Self.padded(groupSize)) * elementBytes
        let slots = inputs.count + outputs.count + temporaries
        let laneCount = max(1, sums) * KERNEL_SUM_LANES
        let bins = histograms << digit
        // Per worker: scratch blocks, lanes, pointers; each a multiple of 64 bytes.
        let pointerBytes = ((inputs.count + outputs.count) * 8 + 63) & ~63
        let workerBytes = slots * slotBytes + laneCount * 8 + pointerBytes
        var base: UnsafeMutableRawPointer?
        guard posix_memalign(&base, 64, max(64, workers * workerBytes)) == 0, let base else {
            throw LossError(.outOfMemory, "no memory for \(workers * workerBytes) bytes of scratch")
        }
        defer { free(base) }
        var counts: UnsafeMutablePointer<UInt32>?
        if bins > 0 {
            counts = calloc(workers * bins, 4)?.assumingMemoryBound(to: UInt32.self)
            guard counts != nil else {
                throw LossError(.outOfMemory, "no memory for \(workers * bins * 4) bytes of histograms")
            }
        }
        defer { free(counts) }

        var chunkSums = [Double](repeating: 0, count: chunks * sums)
        var refusals: Int64 = 0
        var nextChunk: Int64 = 0

        chunkSums.withUnsafeMutableBufferPointer { chunkSums in
            let results = chunkSums.baseAddress
            withUnsafeMutablePointer(to: &nextChunk) { nextChunk in
                withUnsafeMutablePointer(to: &refusals) { refusals in
                    parallel(workers) { worker in
                        let memory = base + worker * workerBytes
                        let lanes = (memory + slots * slotBytes).assumingMemoryBound(to: Double.self)
                        let pointers = memory + slots * slotBytes + laneCount * 8
                        var walk = BlockWalk(
                            self, scratch: memory,
                            inputs: pointers.assumingMemoryBound(to: UnsafeRawPointer.self),
                            outputs: (pointers + inputs.count * 8)
                                .assumingMemoryBound(to: UnsafeMutableRawPointer.self),
                            slotBytes: slotBytes, lanes: lanes, histograms: counts.map { $0 + worker * bins })
                        while true {
                            let index = Int(csystem_add(nextChunk, 1))
                            guard index < chunks else { break }
                            let chunk = firstChunk + index
                            let group = chunk / max(chunksPerGroup, 1)
                            let first = (chunk - group * chunksPerGroup) * Self.chunk
                            lanes.update(repeating: 0, count: laneCount)
                            if !walk.chunk(
                                group: group, start: group * groupSize + first,
                                count: min(Self.chunk, groupSize - first), body)
                            {
                                csystem_add(refusals, 1)
                            }
                            if let results {
                                for i in 0..<sums {
                                    results[index * sums + i] = Self.fold(lanes + i * KERNEL_SUM_LANES)
                                }
                            }
                        }
                    }
                }
            }
        }
        if refusals > 0 { throw firstRefusedValue() }

        var result = Result(chunkSums: chunkSums)
        if sums > 0 {
            let groupCount = within == nil ? groups : 1
            result.sums = [Double](repeating: 0, count: groupCount * sums)
            for index in 0..<chunks {
                let group = within == nil ? index / chunksPerGroup : 0
                for i in 0..<sums { result.sums[group * sums + i] += chunkSums[index * sums + i] }
            }
        }
        if let counts {
            for worker in 1..<max(workers, 2) where worker < workers {
                for bin in 0..<bins { counts[bin] += counts[worker * bins + bin] }
            }
            result.histograms = Array(UnsafeBufferPointer(start: counts, count: bins))
        }
        return result
    }

    /// The next multiple of what kernels take at a time.
    fileprivate static func padded(_ count: Int) -> Int { (count + KERNEL_LANES - 1) & ~(KERNEL_LANES - 1) }

    /// 16 → 8 → 4 → 2 → 1.
    private static func fold(_ lanes: UnsafeMutablePointer<Double>) -> Double {
        var half = KERNEL_SUM_LANES / 2
        while half > 0 {
            for i in 0..<half { lanes[i] += lanes[i + half] }
            half /= 2
        }
        return lanes[0]
    }

    /// Runs `body(0) … body(count − 1)` on the threads there are.
    private func parallel(_ count: Int, _ body: (Int) -> Void) {
        if count == 1 { return body(0) }
        withoutActuallyEscaping(body) { body in
            withUnsafePointer(to: body) { body in
                Threads.run(
                    count,
                    { context, index in
                        context.unsafelyUnwrapped.assumingMemoryBound(to: ((Int) -> Void).self).pointee(Int(index))
                    }, UnsafeMutableRawPointer(mutating: body))
            }
        }
    }

    // MARK: Values that are refused

    private func isRefused(_ operand: Operand, _ values: UnsafeRawPointer, _ padded: Int) -> Bool {
        if execution.nonFinite == .refuse, !kernels.is_finite(values, padded) { return true }
        return operand.isProbability && !kernels.is_probability(values, padded)
    }

    /// Checks what the last block of a walk holds.
    fileprivate func accepts(_ pointers: UnsafeMutablePointer<UnsafeRawPointer>, _ padded: Int) -> Bool {
        for (i, operand) in inputs.enumerated() where isRefused(operand, pointers[i], padded) { return false }
        return true
    }

    /// The first value that made a sweep fail, in the order of the operands.
    private func firstRefusedValue() -> LossError {
        let lanes = KERNEL_LANES
        return withUnsafeTemporaryAllocation(byteCount: 2 * lanes * 8, alignment: 64) { memory in
            let one = memory.baseAddress.unsafelyUnwrapped
            let total = groups * groupSize
            for operand in inputs where operand.isProbability || execution.nonFinite == .refuse {
                let read = conversions[operand.tensor.type].widen
                for index in 0..<total {
                    memset(one, 0, 2 * lanes * 8)
                    if let mask = operand.mask, execution.nonFinite == .skipMasked {
                        let m = inputs[mask].tensor
                        conversions[m.type].widen(m.data + m.offset(of: index) * m.type.bytes, 1, one, 1)
                        if isDouble
                            ? one.load(as: Double.self) == 0 : one.load(as: Float.self) == 0
                        {
                            continue
                        }
                    }
                    let tensor = operand.tensor
                    read(tensor.data + tensor.offset(of: index) * tensor.type.bytes, 1, one, 1)
                    guard isRefused(operand, one, lanes) else { continue }
                    let value = isDouble ? one.load(as: Double.self) : Double(one.load(as: Float.self))
                    let place = "\(tensor.name): \(value) at index \(tensor.subscripts(of: index))"
                    return value.isFinite
                        ? LossError(.outOfRange, "\(place): expected a probability in [0, 1]")
                        : operand.isProbability
                            ? LossError(.outOfRange, "\(place): expected a probability in [0, 1], not NaN or infinity")
                            : LossError(.nonFinite, "\(place): non-finite values are refused in this call")
                }
            }
            return LossError(.outOfRange, "a value was refused, and changed while the call looked for it")
        }
    }
}

/// A worker's way through its chunks: brings every operand's next block, runs the body, writes the outputs.
private struct BlockWalk {
    let sweep: Sweep
    let kernels: Kernels
    let skipMasked: Bool
    var readers: [Reader]
    var writers: [Writer?]
    let scratch: UnsafeMutableRawPointer
    let inputs: UnsafeMutablePointer<UnsafeRawPointer>
    let outputs: UnsafeMutablePointer<UnsafeMutableRawPointer>
    let slotBytes: Int
    let lanes: UnsafeMutablePointer<Double>
    let histograms: UnsafeMutablePointer<UInt32>?

    init(
        _ sweep: Sweep, scratch: UnsafeMutableRawPointer, inputs: UnsafeMutablePointer<UnsafeRawPointer>,
        outputs: UnsafeMutablePointer<UnsafeMutableRawPointer>, slotBytes: Int, lanes: UnsafeMutablePointer<Double>,
        histograms: UnsafeMutablePointer<UInt32>?
    ) {
        self.sweep = sweep
        kernels = sweep.kernels
        skipMasked = sweep.execution.nonFinite == .skipMasked
        let tables = sweep.execution.dispatch.kernels
        let conversions = sweep.isDouble ? tables.to_f64 : tables.to_f32
        let native: ElementType = sweep.isDouble ? .f64 : .f32
        readers = sweep.inputs.map { Reader($0.tensor, conversions, native) }
        writers = sweep.outputs.map { $0.map { Writer($0, conversions, native) } }
        self.scratch = scratch
        self.inputs = inputs
        self.outputs = outputs
        self.slotBytes = slotBytes
        self.lanes = lanes
        self.histograms = histograms
    }

    /// False if a value is refused.
    mutating func chunk(group: Int, start: Int, count: Int, _ body: (Block) -> Void) -> Bool {
        var valid = true
        for i in readers.indices { readers[i].walk.seek(start) }
        for i in writers.indices { writers[i]?.walk.seek(start) }
        var done = 0
        while done < count {
            let size = min(KERNEL_BLOCK, count - done)
            let padded = Sweep.padded(size)
            for i in readers.indices {
                inputs[i] = readers[i].next(size, padded, scratch + i * slotBytes)
            }
            if skipMasked { hideMasked(padded) }
            if sweep.checksValues { valid = sweep.accepts(inputs, padded) && valid }
            for i in writers.indices {
                let slot = scratch + (readers.count + i) * slotBytes
                outputs[i] = writers[i]?.begin(size, padded, slot) ?? slot
            }
            body(
                Block(
                    kernels: kernels, start: start + done, group: group, count: size, padded: padded,
                    inputs: inputs, outputs: outputs,
                    temporaries: scratch + (readers.count + writers.count) * slotBytes, slotBytes: slotBytes,
                    lanes: lanes, histograms: histograms, digit: sweep.digit))
            for i in writers.indices { writers[i]?.end(size) }
            done += size
        }
        return valid
    }

    private func hideMasked(_ padded: Int) {
        for (i, operand) in sweep.inputs.enumerated() {
            guard let mask = operand.mask else { continue }
            let visible = scratch + i * slotBytes
            kernels.keep(inputs[i], inputs[mask], visible, padded)
            inputs[i] = UnsafeRawPointer(visible)
        }
    }
}

/// A position in a tensor's memory that moves on in logical order.
private struct Walk {
    private let data: UnsafeMutableRawPointer
    private let bytes: Int
    private let layout: Layout
    private let last: Int
    private var subscripts = Extents([0, 0, 0, 0, 0, 0])
    private var offset = 0

    init(_ tensor: Tensor) {
        data = tensor.data
        bytes = tensor.type.bytes
        layout = Layout(tensor)
        last = layout.shape.rank - 1
    }

    var address: UnsafeMutableRawPointer { data + offset * bytes }
    /// Stride of the innermost dimension, and how many elements of it are ahead.
    var stride: Int { layout.strides[last] }
    var run: Int { layout.shape[last] - subscripts[last] }

    mutating func seek(_ index: Int) {
        var rest = index
        offset = 0
        var i = last
        while i >= 0 {
            // The outermost subscript may stand one past its end: nothing is read there.
            subscripts[i] = i == 0 ? rest : rest % layout.shape[i]
            rest /= layout.shape[i]
            offset += subscripts[i] * layout.strides[i]
            i -= 1
        }
    }

    /// By at most `run`.
    mutating func advance(_ count: Int) {
        subscripts[last] += count
        offset += count * layout.strides[last]
        var i = last
        while i > 0, subscripts[i] == layout.shape[i] {
            offset += layout.strides[i - 1] - layout.shape[i] * layout.strides[i]
            subscripts[i] = 0
            subscripts[i - 1] += 1
            i -= 1
        }
    }
}

/// Brings blocks of an operand: the memory itself where it is native and dense, else a widened copy.
private struct Reader {
    var walk: Walk
    private let isNative: Bool
    private let type: ElementType
    private let nativeBytes: Int
    private let widen: @convention(c) (UnsafeRawPointer, Int, UnsafeMutableRawPointer, Int) -> Void

    init(_ tensor: Tensor, _ conversions: Conversions, _ native: ElementType) {
        walk = Walk(tensor)
        type = tensor.type
        isNative = tensor.type == native && walk.stride == 1
        nativeBytes = native.bytes
        widen = conversions[tensor.type].widen
    }

    mutating func next(_ count: Int, _ padded: Int, _ scratch: UnsafeMutableRawPointer) -> UnsafeRawPointer {
        if isNative, count == padded, walk.run >= count {
            let address = UnsafeRawPointer(walk.address)
            walk.advance(count)
            return address
        }
        var done = 0
        while done < count {
            let size = min(count - done, walk.run)
            widen(walk.address, walk.stride, scratch + done * nativeBytes, size)
            walk.advance(size)
            done += size
        }
        if padded > count { memset(scratch + count * nativeBytes, 0, (padded - count) * nativeBytes) }
        return UnsafeRawPointer(scratch)
    }
}

/// Takes blocks of an output: straight into memory where it is native and dense, else through a narrowed copy.
private struct Writer {
    var walk: Walk
    private let isNative: Bool
    private let nativeBytes: Int
    private let narrow: @convention(c) (UnsafeRawPointer, UnsafeMutableRawPointer, Int, Int) -> Void
    private var pending: UnsafeMutableRawPointer?

    init(_ tensor: Tensor, _ conversions: Conversions, _ native: ElementType) {
        walk = Walk(tensor)
        isNative = tensor.type == native && walk.stride == 1
        nativeBytes = native.bytes
        // Outputs have floating types (validated), and those can be narrowed to.
        narrow = conversions[tensor.type].narrow.unsafelyUnwrapped
    }

    mutating func begin(_ count: Int, _ padded: Int, _ scratch: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        let direct = isNative && count == padded && walk.run >= count
        pending = direct ? nil : scratch
        return direct ? walk.address : scratch
    }

    mutating func end(_ count: Int) {
        guard let scratch = pending else { return walk.advance(count) }
        var done = 0
        while done < count {
            let size = min(count - done, walk.run)
            narrow(scratch + done * nativeBytes, walk.address, walk.stride, size)
            walk.advance(size)
            done += size
        }
    }
}

extension Conversions {
    fileprivate subscript(type: ElementType) -> Conversion {
        switch type {
        case .f32: f32
        case .f64: f64
        case .f16: f16
        case .bf16: bf16
        case .u8: u8
        case .i32: i32
        case .i64: i64
        }
    }
}
