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
    nonisolated(unsafe) let table: UnsafePointer<KernelTable>

    public init(threads: Int = 0, nonFinite: NonFinitePolicy = .propagate) {
        self.init(threads: threads, nonFinite: nonFinite, .current)
    }

    init(threads: Int, nonFinite: NonFinitePolicy, _ dispatch: Dispatch) {
        self.threads = threads
        self.nonFinite = nonFinite
        table = dispatch.kernels
    }
}

/// An input of a sweep, and what is asked of its values.
struct Operand {
    var tensor: Tensor
    /// The operand that masks this one.
    var mask: Int?
    /// The operand whose value this is says not to read this one.
    var ignored: Ignored?
    /// Refuse values outside [0, 1], and NaN.
    var isProbability = false
    /// But for this value.
    var exempt: Double?
    /// Refuse what is not one of these classes.
    var labels: Labels?
    /// Rows above and below a strip that its blocks hold too.
    var halo = 0

    init(
        _ tensor: Tensor, mask: Int? = nil, ignored: Ignored? = nil, isProbability: Bool = false, labels: Labels? = nil,
        exempt: Double? = nil, halo: Int = 0
    ) {
        self.tensor = tensor
        self.mask = mask
        self.ignored = ignored
        self.isProbability = isProbability
        self.exempt = exempt
        self.labels = labels
        self.halo = halo
    }
}

/// Elements at which another operand has a certain value count as 0, whatever they hold.
struct Ignored {
    var operand: Int
    var value: Double
}

/// Operands 0 … classes − 1 count as 0 where every class is ruled out, by its target or, if masked elements are skipped, by
/// its mask.
struct Positions {
    var classes: Int
    /// The first class's target.
    var ignored: Ignored?
    /// The first class's mask.
    var masks: Int?
}

/// The labels that a target may hold: 0 … classes − 1, and one that says to ignore the element.
struct Labels {
    var classes: Int
    var ignored: Int?
    /// NaN, which equals nothing, where none is.
    var ignoredValue: Double { ignored.map { Double($0) } ?? .nan }
}

/// How window losses cut a group, which is one image: in strips of whole rows.
struct Rows {
    let height: Int
    let width: Int
    /// Rows of a strip.
    let strip: Int
    /// Elements from one row to the next in a block.
    var pitch: Int { Sweep.padded(width) }
}

extension Rows {
    /// Strips of about half a chunk stay in the cache; of about `least` rows at least, so that halos stay a small part; all
    /// of about one height, so that none is a few rows between two halos.
    init(height: Int, width: Int, least: Int) {
        let size = max(1, least, Sweep.chunk / 2 / max(width, 1))
        let strips = max(1, (height + size / 2) / size)
        self.init(height: height, width: width, strip: max(1, (height + strips - 1) / strips))
    }
}

/// One block of a sweep: up to 8192 elements of every operand, side by side in the compute type; or a strip of rows.
public struct Block {
    let table: UnsafePointer<Kernels>
    var kernels: Kernels { table.pointee }
    /// Logical index of the first element, and the group that it is in.
    let start: Int
    let group: Int
    /// The elements, and the same padded with zeros to a multiple of 32: what kernels take.
    let count: Int
    let padded: Int

    /// Image rows of a strip (empty elsewhere), and its geometry.
    let rows: Range<Int>
    let geometry: Rows?
    let elementBytes: Int

    let digit: Int
    let firstTemporary: Int
    let memory: WorkerMemory

    /// The rows that an operand's block holds, from the first on: those of the strip and of the halo, inside the image.
    func rows(withHalo halo: Int) -> Range<Int> {
        max(0, rows.lowerBound - halo)..<min(geometry?.height ?? 0, rows.upperBound + halo)
    }

    /// Row i of a strip, counted from its block's first.
    func row(_ i: Int, of block: UnsafeRawPointer) -> UnsafeRawPointer { block + i * rowBytes }
    func row(_ i: Int, of block: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer { block + i * rowBytes }
    /// Elements, and bytes, from one row of a strip to the next.
    var rowPitch: Int { geometry?.pitch ?? 0 }
    var rowBytes: Int { rowPitch * elementBytes }

    func input(_ i: Int) -> UnsafeRawPointer { memory.inputs[i] }
    func output(_ i: Int) -> UnsafeMutableRawPointer { memory.outputs[i] }
    /// The addresses of inputs or outputs from i on, for kernels that take several planes.
    func inputs(from i: Int) -> UnsafePointer<UnsafeRawPointer> { UnsafePointer(memory.inputs + i) }
    func outputs(from i: Int) -> UnsafePointer<UnsafeMutableRawPointer> { UnsafePointer(memory.outputs + i) }
    /// A block in the cache to compute in.
    func temporary(_ i: Int) -> UnsafeMutableRawPointer { memory.slot(firstTemporary + i) }
    /// The same for a few rows of a strip.
    func ring(_ i: Int) -> UnsafeMutableRawPointer { memory.ring(i) }
    /// Bytes from one temporary to the next.
    var pitch: Int { memory.slotBytes }
    /// The float64 lanes of sum i.
    func sums(_ i: Int) -> UnsafeMutablePointer<Double> { memory.lanes + i * KERNEL_SUM_LANES }
    /// Adds Σ a·w to sum i; w nil: Σ a.
    func add(_ a: UnsafeRawPointer, weighted w: UnsafeRawPointer?, to i: Int) {
        if let w { kernels.dot(a, w, padded, sums(i)) } else { kernels.sum(a, padded, sums(i)) }
    }
    /// Adds a single number to sum i.
    func add(_ value: Double, to i: Int) { sums(i).pointee += value }
    /// Counts the elements of v in this thread's histogram i, if the sweep has any: in round r by the r-th digit of
    /// their order keys, among those whose digits before it are `prefix`.
    func count(_ v: UnsafeRawPointer, round: Int = 0, prefix: UInt64 = 0, in i: Int) {
        guard let histograms = memory.histograms else { return }
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
    var inputs: [Operand]
    /// Gradients to write; what goes to a nil one is dropped.
    var outputs: [Tensor?] = []
    var groups = 1
    let groupSize: Int
    /// Strips of rows instead of blocks.
    let rows: Rows?
    var positions: Positions?
    /// Sums that the body reports for each group.
    var sums = 0
    /// Blocks of scratch that the body uses.
    var temporaries = 0
    /// Blocks of scratch for so many rows of a strip at most.
    var rings = 0
    var ringRows = 0
    /// Histograms of 2^digit bins, added over all groups.
    var histograms = 0
    /// Bits of a selection's order keys that one round finds: few where counting elements once more takes less than clearing
    /// and reading 65536 bins.
    var digit: Int { groupSize <= 1 << 11 ? 8 : 16 }
    /// Whether inputs are checked: once a call is enough.
    var checksValues = false

    var table: UnsafePointer<Kernels> { kernels_of(execution.table, isDouble) }
    var kernels: Kernels { table.pointee }
    var conversions: UnsafePointer<Conversions> { conversions_of(execution.table, isDouble) }
    let isDouble: Bool
    /// Predictions and gradients have another type than what is computed in.
    private let isConverted: Bool

    init(
        _ execution: Execution, inputs: [Operand], outputs: [Tensor?] = [], like prediction: Tensor, groups: Int = 1,
        rows: Rows? = nil, sums: Int = 0, temporaries: Int = 0, rings: Int = 0, ringRows: Int = 0, histograms: Int = 0,
        checksValues: Bool = false
    ) {
        self.execution = execution
        self.inputs = inputs
        self.outputs = outputs
        self.groups = groups
        self.groupSize = groups == 0 ? 0 : prediction.count / groups
        self.rows = rows
        self.sums = sums
        self.temporaries = temporaries
        (self.rings, self.ringRows) = (rings, ringRows)
        self.histograms = histograms
        self.checksValues = checksValues
        isDouble = prediction.type == .f64
        isConverted = !isDouble && prediction.type != .f32
    }

    /// Elements that a block holds at most: as many kilobytes as a core's L2 cache, all operands together. What is converted
    /// comes in short blocks: of those, the next ones can be on their way from memory meanwhile.
    var blockSize: Int {
        if let rows {
            let halo = inputs.reduce(0) { max($0, $1.halo) }
            // Never less than 32 rows: losses take slots for their own few rows too.
            return Self.padded(min(rows.strip + 2 * min(halo, rows.height), rows.height)) * rows.pitch
        }
        let slots = inputs.count + outputs.count + temporaries
        var size = isConverted ? KERNEL_SUM_BLOCK : KERNEL_BLOCK
        while size > KERNEL_SUM_BLOCK, slots * size * (isDouble ? 8 : 4) > 1 << 20 { size /= 2 }
        return min(size, Self.padded(groupSize))
    }

    /// Elements of a ring's block.
    var ringSize: Int { min(blockSize, ringRows * (rows?.pitch ?? 0)) }

    struct Result {
        /// groups × sums.
        var sums: [Double] = []
        /// chunks × sums: what `sums` adds up.
        var chunkSums: [Double]
        /// The caller's to free.
        var histograms: Histograms?
    }

    /// Runs the body on every block, or on those of `within` (whole chunks of one group).
    @discardableResult
    func run(within: Range<Int>? = nil, _ body: (Block) -> Void) throws(LossError) -> Result {
        let firstChunk = within.map { $0.lowerBound } ?? 0
        let chunks = within.map { $0.count } ?? groups * chunksPerGroup
        // Waking a thread costs as much as two chunks or so; strips are more work for each of their elements.
        let elements = within == nil ? groups * groupSize : min(groupSize, chunks * Self.chunk)
        let isSmall = elements <= 2 * Self.chunk / (rows == nil ? 1 : max(1, inputs.count))
        let workers =
            isSmall
            ? 1 : min(chunks, execution.threads > 0 ? min(execution.threads, Threads.maximum) : Threads.available)

        // Sums of chunks: 128 MB of them are enough for 2^37 elements, and for any broadcast that ends.
        // (Groups without elements have sums as well.)
        guard max(chunks, groups) <= 1 << 24 / max(sums, 1) else {
            throw LossError(.outOfMemory, "no memory for the sums of \(groups) times \(groupSize) elements")
        }
        guard rows == nil || groupSize <= 1 << 48 else {
            throw LossError(.outOfMemory, "no memory for strips of planes of \(groupSize) elements")
        }
        for output in outputs { output?.askForHugePages() }
        let workspace = try Workspace(self, workers: workers)
        defer { workspace.free() }

        var chunkSums = [Double](repeating: 0, count: chunks * sums)
        let isValid = chunkSums.withUnsafeMutableBufferPointer { chunkSums in
            if isOneBlock, chunks == 1 { return oneBlock(workspace.memory(of: 0), into: chunkSums.baseAddress, body) }
            return run(chunks, from: firstChunk, workers, workspace, into: chunkSums.baseAddress, body)
        }
        guard isValid else {
            workspace.histograms?.free()
            throw firstRefusedValue()
        }

        if chunks == 1 {
            return Result(sums: chunkSums, chunkSums: chunkSums, histograms: workspace.histograms)
        }
        var result = Result(chunkSums: chunkSums, histograms: workspace.histograms)
        if sums > 0 {
            result.sums = [Double](repeating: 0, count: (within == nil ? groups : 1) * sums)
            for index in 0..<chunks {
                let group = within == nil ? index / chunksPerGroup : 0
                for i in 0..<sums { result.sums[group * sums + i] += chunkSums[index * sums + i] }
            }
        }
        return result
    }

    /// The chunks, shared among workers. False if a value is refused.
    private func run(
        _ chunks: Int, from first: Int, _ workers: Int, _ workspace: Workspace,
        into results: UnsafeMutablePointer<Double>?, _ body: (Block) -> Void
    ) -> Bool {
        var refusals: Int64 = 0
        var nextChunk: Int64 = 0
        withUnsafeMutablePointer(to: &nextChunk) { nextChunk in
            withUnsafeMutablePointer(to: &refusals) { refusals in
                parallel(workers) { worker in
                    var walk = BlockWalk(self, workspace.memory(of: worker))
                    while true {
                        let index = Int(csystem_add(nextChunk, 1))
                        guard index < chunks else { break }
                        if !walk.chunk(first + index, body) { csystem_add(refusals, 1) }
                        if let results { walk.memory.fold(sums, into: results + index * sums) }
                    }
                }
            }
        }
        return refusals == 0
    }

    var chunksPerGroup: Int {
        if let rows { return groupSize == 0 ? 0 : (rows.height + rows.strip - 1) / rows.strip }
        return (groupSize + Self.chunk - 1) / Self.chunk
    }

    /// The chunks of one group, for `within`.
    func chunks(of group: Int) -> Range<Int> { group * chunksPerGroup..<(group + 1) * chunksPerGroup }

    /// The next multiple of what kernels take at a time.
    static func padded(_ count: Int) -> Int { (count + KERNEL_LANES - 1) & ~(KERNEL_LANES - 1) }

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
}
