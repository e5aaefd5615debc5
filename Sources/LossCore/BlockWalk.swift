import CSystem
import KernelTable

// A small call is over before a walk would have been prepared: one block, each of whose operands is one run of memory.
extension Sweep {
    var isOneBlock: Bool {
        guard groups == 1, rows == nil, positions == nil, histograms == 0, groupSize <= KERNEL_SUM_BLOCK,
            execution.nonFinite != .skipMasked
        else { return false }
        for input in inputs where !input.tensor.isOneRun || input.ignored != nil { return false }
        for output in outputs { if let output, !output.isOneRun { return false } }
        return true
    }

    /// What `BlockWalk` does with such a block. False if a value is refused.
    func oneBlock(
        _ memory: WorkerMemory, into sums: UnsafeMutablePointer<Double>?, _ body: (Block) -> Void
    ) -> Bool {
        let (table, conversions) = (table, conversions)
        let native: ElementType = isDouble ? .f64 : .f32
        let (count, padded, bytes) = (groupSize, Sweep.padded(groupSize), native.bytes)
        memory.lanes.update(repeating: 0, count: self.sums * KERNEL_SUM_LANES)
        var isValid = true
        for i in 0..<inputs.count {
            let (data, type) = (inputs[i].tensor.data, inputs[i].tensor.type)
            memory.inputs[i] = UnsafeRawPointer(data)
            if type != native || count < padded {
                let copy = memory.slot(i)
                conversions.pointee[type].widen(data, 1, copy, count)
                if count < padded { memset(copy + count * bytes, 0, (padded - count) * bytes) }
                memory.inputs[i] = UnsafeRawPointer(copy)
            }
            if checksValues { isValid = accepts(i, memory.inputs[i], padded) && isValid }
        }
        for i in 0..<outputs.count {
            let isDirect = outputs[i]?.type == native && count == padded
            memory.outputs[i] = (isDirect ? outputs[i]?.data : nil) ?? memory.slot(inputs.count + i)
        }
        body(
            Block(
                table: table, start: 0, group: 0, count: count, padded: padded, rows: 0..<0, geometry: nil,
                elementBytes: bytes, digit: digit, firstTemporary: inputs.count + outputs.count, memory: memory))
        for i in 0..<outputs.count {
            guard let type = outputs[i]?.type, let data = outputs[i]?.data, type != native || count < padded else {
                continue
            }
            conversions.pointee[type].narrow.unsafelyUnwrapped(memory.outputs[i], data, 1, count)
        }
        if let sums { memory.fold(self.sums, into: sums) }
        return isValid
    }
}

/// A worker's way through its chunks: brings every operand's next block, runs the body, writes the outputs.
struct BlockWalk {
    let sweep: Sweep
    let table: UnsafePointer<Kernels>
    private var kernels: Kernels { table.pointee }
    let skipMasked: Bool
    private let blockSize: Int
    private let elementBytes: Int
    private let hasIgnored: Bool
    private var readers: [Reader]
    private var writers: [Writer?]
    let memory: WorkerMemory

    init(_ sweep: Sweep, _ memory: WorkerMemory) {
        self.sweep = sweep
        self.memory = memory
        table = sweep.table
        blockSize = sweep.blockSize
        elementBytes = sweep.isDouble ? 8 : 4
        hasIgnored = sweep.inputs.contains { $0.ignored != nil }
        skipMasked = sweep.execution.nonFinite == .skipMasked
        let conversions = sweep.conversions
        let native: ElementType = sweep.isDouble ? .f64 : .f32
        let (inputs, outputs) = (sweep.inputs, sweep.outputs)
        let read = columns(inputs.count, conversions) { (inputs[$0].tensor, inputs[$0].halo) }
        let written = columns(outputs.count, conversions) { i in outputs[i].map { ($0, 0) } }
        let pitch = memory.slotBytes
        readers = inputs.indices.map { Reader(inputs[$0].tensor, conversions, native, columns: read[$0], pitch) }
        writers = outputs.indices.map { i in
            outputs[i].map { Writer($0, conversions, native, columns: written[i], pitch) }
        }
        memory.histograms?.initialize(repeating: 0, count: sweep.histograms << sweep.digit)
    }

    /// False if a value is refused.
    mutating func chunk(_ index: Int, _ body: (Block) -> Void) -> Bool {
        memory.lanes.update(repeating: 0, count: sweep.sums * KERNEL_SUM_LANES)
        let group = index / sweep.chunksPerGroup
        let place = index - group * sweep.chunksPerGroup
        if let rows = sweep.rows {
            let first = place * rows.strip
            return strip(first..<min(first + rows.strip, rows.height), rows, group: group, body)
        }
        let first = place * Sweep.chunk
        return blocks(
            group: group, start: group * sweep.groupSize + first, count: min(Sweep.chunk, sweep.groupSize - first), body
        )
    }

    private mutating func strip(
        _ strip: Range<Int>, _ rows: Rows, group: Int, _ body: (Block) -> Void
    ) -> Bool {
        let start = group * sweep.groupSize
        let count = strip.count * rows.pitch
        let block = Block(
            table: table, start: start + strip.lowerBound * rows.width, group: group, count: count, padded: count,
            rows: strip, geometry: rows, elementBytes: elementBytes, digit: sweep.digit,
            firstTemporary: readers.count + writers.count, memory: memory)
        var valid = true
        for i in readers.indices {
            let loaded = block.rows(withHalo: sweep.inputs[i].halo)
            readers[i].walk.seek(start + loaded.lowerBound * rows.width)
            memory.inputs[i] = readers[i].rows(loaded.count, rows, memory.slot(i))
        }
        for i in readers.indices where sweep.inputs[i].ignored != nil || sweep.checksValues {
            let loaded = block.rows(withHalo: sweep.inputs[i].halo)
            if hasIgnored { hideIgnored(i, loaded.count * rows.pitch) }
            if sweep.checksValues { valid = sweep.accepts(i, memory.inputs[i], loaded.count * rows.pitch) && valid }
        }
        for i in writers.indices {
            let slot = memory.slot(readers.count + i)
            writers[i]?.walk.seek(block.start)
            memory.outputs[i] = writers[i]?.begin(strip.count * rows.width, count, slot) ?? slot
        }
        body(block)
        for i in writers.indices { writers[i]?.end(strip.count, rows) }
        return valid
    }

    private mutating func blocks(group: Int, start: Int, count: Int, _ body: (Block) -> Void) -> Bool {
        var valid = true
        for i in readers.indices { readers[i].walk.seek(start) }
        for i in writers.indices { writers[i]?.walk.seek(start) }
        var done = 0
        while done < count {
            let size = min(blockSize, count - done)
            let padded = Sweep.padded(size)
            for i in readers.indices {
                memory.inputs[i] = readers[i].next(size, padded, memory.slot(i))
                readers[i].walk.ask(size)
            }
            if let positions = sweep.positions { hidePositions(positions, padded) }
            if hasIgnored { for i in readers.indices { hideIgnored(i, padded) } }
            if skipMasked { hideMasked(padded) }
            if sweep.checksValues {
                for i in readers.indices { valid = sweep.accepts(i, memory.inputs[i], padded) && valid }
            }
            for i in writers.indices {
                let slot = memory.slot(readers.count + i)
                memory.outputs[i] = writers[i]?.begin(size, padded, slot) ?? slot
            }
            body(
                Block(
                    table: table, start: start + done, group: group, count: size, padded: padded,
                    rows: 0..<0, geometry: nil, elementBytes: elementBytes, digit: sweep.digit,
                    firstTemporary: readers.count + writers.count, memory: memory))
            for i in writers.indices {
                writers[i]?.end(size)
                writers[i]?.walk.ask(size)
            }
            done += size
        }
        return valid
    }

    private func hidePositions(_ positions: Positions, _ padded: Int) {
        let masks = skipMasked ? positions.masks : nil
        guard positions.ignored != nil || masks != nil else { return }
        let any = memory.slot(readers.count + writers.count + sweep.temporaries)
        let one = memory.slot(readers.count + writers.count + sweep.temporaries + 1)
        kernels.clear(any, padded)
        for c in 0..<positions.classes {
            kernels.ones(padded, one, padded)
            if let masks { kernels.not_ignored(memory.inputs[masks + c], 0, one, one, padded) }
            if let ignored = positions.ignored {
                kernels.not_ignored(memory.inputs[ignored.operand + c], ignored.value, one, one, padded)
            }
            kernels.add_scaled(one, 1, any, padded)
        }
        for c in 0..<positions.classes {
            kernels.keep(memory.inputs[c], any, memory.slot(c), padded)
            memory.inputs[c] = UnsafeRawPointer(memory.slot(c))
        }
    }

    /// In strips an operand and the one that says what to ignore have the same halo.
    private func hideIgnored(_ i: Int, _ padded: Int) {
        guard let ignored = sweep.inputs[i].ignored else { return }
        let visible = memory.slot(i)
        kernels.not_ignored(memory.inputs[ignored.operand], ignored.value, memory.inputs[i], visible, padded)
        memory.inputs[i] = UnsafeRawPointer(visible)
    }

    private func hideMasked(_ padded: Int) {
        for (i, operand) in sweep.inputs.enumerated() {
            guard let mask = operand.mask else { continue }
            let visible = memory.slot(i)
            kernels.keep(memory.inputs[i], memory.inputs[mask], visible, padded)
            memory.inputs[i] = UnsafeRawPointer(visible)
        }
    }
}

/// A position in a tensor's memory that moves on in logical order.
private struct Walk {
    private let data: UnsafeMutableRawPointer
    private let bytes: Int
    private let layout: Layout
    private let last: Int
    private let isWritten: Bool
    /// Elements have the type that kernels take; others are converted.
    private let isNative: Bool
    private var subscripts = Extents([0, 0, 0, 0, 0, 0])
    private var offset = 0

    init(_ tensor: Tensor, _ native: ElementType, isWritten: Bool) {
        data = tensor.data
        bytes = tensor.type.bytes
        layout = Layout(tensor)
        last = layout.shape.rank - 1
        isNative = tensor.type == native
        self.isWritten = isWritten
    }

    var address: UnsafeMutableRawPointer { data + offset * bytes }
    /// Stride of the innermost dimension, and how many elements of it are ahead.
    var stride: Int { layout.strides[last] }
    var run: Int { layout.shape[last] - subscripts[last] }
    /// Whether kernels take so many elements, of so many with the padding, from where they are.
    func isDirect(_ count: Int, _ padded: Int) -> Bool { isNative && stride == 1 && count == padded && run >= count }

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

    /// Asks for the block after the next, of so many elements. While a block is converted its memory has to be there; what
    /// is computed with the copy then leaves the memory idle, and the hardware does not foresee what comes after.
    func ask(_ count: Int) {
        guard !isNative, stride == 1 else { return }
        let size = count * bytes
        csystem_prefetch(UInt(bitPattern: address) &+ UInt(bitPattern: size), Int64(size), isWritten ? 1 : 0)
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

/// How many operands come with each: those that are columns of one array, side by side, as channels that come last, come with
/// the first (0 with the others); everything else comes alone (1), and so do few columns, which is as fast.
private func columns(
    _ count: Int, _ conversions: UnsafePointer<Conversions>, _ operand: (Int) -> (tensor: Tensor, halo: Int)?
) -> [Int] {
    func columns(from i: Int) -> Int {
        guard let (first, halo) = operand(i), !first.isOneRun, conversions.pointee[first.type].widen_columns != nil else {
            return 1
        }
        let layout = Layout(first)
        let stride = layout.strides[layout.shape.rank - 1]
        guard stride >= KERNEL_COLUMNS else { return 1 }
        var columns = 1
        while columns < stride, i + columns < count, let next = operand(i + columns), next.halo == halo,
            next.tensor.type == first.type, next.tensor.shape == first.shape, next.tensor.strides == first.strides,
            next.tensor.data == first.data + columns * first.type.bytes
        {
            columns += 1
        }
        return columns < KERNEL_COLUMNS ? 1 : columns
    }
    var result = [Int](repeating: 0, count: count)
    var i = 0
    while i < count {
        result[i] = columns(from: i)
        i += result[i]
    }
    return result
}

/// Brings blocks of an operand, and of those that come with it: the memory itself where it is native and dense, else a widened
/// copy.
private struct Reader {
    var walk: Walk
    private let columns: Int
    /// Bytes from one column's copy to the next's.
    private let pitch: Int
    private let nativeBytes: Int
    private let conversion: Conversion

    init(
        _ tensor: Tensor, _ conversions: UnsafePointer<Conversions>, _ native: ElementType, columns: Int, _ pitch: Int
    ) {
        walk = Walk(tensor, native, isWritten: false)
        (self.columns, self.pitch) = (columns, pitch)
        nativeBytes = native.bytes
        conversion = conversions.pointee[tensor.type]
    }

    mutating func next(_ count: Int, _ padded: Int, _ scratch: UnsafeMutableRawPointer) -> UnsafeRawPointer {
        if columns == 0 { return UnsafeRawPointer(scratch) }
        if walk.isDirect(count, padded) {
            let address = UnsafeRawPointer(walk.address)
            walk.advance(count)
            return address
        }
        var done = 0
        while done < count {
            let size = min(count - done, walk.run)
            let to = scratch + done * nativeBytes
            if columns == 1 {
                conversion.widen(walk.address, walk.stride, to, size)
            } else {
                conversion.widen_columns.unsafelyUnwrapped(walk.address, walk.stride, columns, to, pitch, size)
            }
            walk.advance(size)
            done += size
        }
        if padded > count {
            for column in 0..<columns {
                memset(scratch + column * pitch + count * nativeBytes, 0, (padded - count) * nativeBytes)
            }
        }
        return UnsafeRawPointer(scratch)
    }

    /// Whole rows, each padded with zeros to the pitch.
    mutating func rows(_ count: Int, _ rows: Rows, _ scratch: UnsafeMutableRawPointer) -> UnsafeRawPointer {
        if rows.width == rows.pitch { return next(count * rows.width, count * rows.width, scratch) }
        for row in 0..<count {
            _ = next(rows.width, rows.pitch, scratch + row * rows.pitch * nativeBytes)
        }
        return UnsafeRawPointer(scratch)
    }
}

/// Takes blocks of an output, and of those that go with it: straight into memory where it is native and dense, else through a
/// narrowed copy.
private struct Writer {
    var walk: Walk
    private let columns: Int
    /// Bytes from one column's block to the next's.
    private let pitch: Int
    private let nativeBytes: Int
    private let conversion: Conversion
    private var pending: UnsafeMutableRawPointer?

    init(
        _ tensor: Tensor, _ conversions: UnsafePointer<Conversions>, _ native: ElementType, columns: Int, _ pitch: Int
    ) {
        walk = Walk(tensor, native, isWritten: true)
        (self.columns, self.pitch) = (columns, pitch)
        nativeBytes = native.bytes
        conversion = conversions.pointee[tensor.type]
    }

    mutating func begin(_ count: Int, _ padded: Int, _ scratch: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer {
        let direct = walk.isDirect(count, padded)
        pending = direct ? nil : scratch
        return direct ? walk.address : scratch
    }

    mutating func end(_ count: Int) {
        guard let scratch = pending else { return walk.advance(count) }
        drain(scratch, count)
    }

    mutating func end(_ count: Int, _ rows: Rows) {
        guard let scratch = pending else { return }
        for row in 0..<count { drain(scratch + row * rows.pitch * nativeBytes, rows.width) }
    }

    private mutating func drain(_ scratch: UnsafeMutableRawPointer, _ count: Int) {
        if columns == 0 { return }
        var done = 0
        while done < count {
            let size = min(count - done, walk.run)
            let from = scratch + done * nativeBytes
            // Outputs have floating types (validated), and those can be narrowed to.
            if columns == 1 {
                conversion.narrow.unsafelyUnwrapped(from, walk.address, walk.stride, size)
            } else {
                conversion.narrow_columns.unsafelyUnwrapped(from, pitch, walk.address, walk.stride, columns, size)
            }
            walk.advance(size)
            done += size
        }
    }
}

extension Conversions {
    subscript(type: ElementType) -> Conversion {
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
