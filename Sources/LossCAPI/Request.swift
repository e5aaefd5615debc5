import CLosses
import LossCore

/// What is asked of a loss, whichever it is. The answer is a closure, to be run once or, with other addresses in the
/// tensors' places, again and again.
struct Request {
    enum Task {
        case outputs(
            statistics: UnsafeMutablePointer<Int64>?, parts: UnsafeMutablePointer<Int64>?,
            value: UnsafeMutablePointer<segloss_tensor>?)
        case passes(UnsafeMutablePointer<Int32>)
        /// With gradients for a factor of 1, if any are wanted.
        case forward(Tensor?, [Tensor?])
        case value(Tensor?)
        case gradient(factor: Tensor, [Tensor?])
    }

    /// The numbers that a call names beside its tensors.
    struct Numbers {
        var statistics: UnsafeMutablePointer<Double>?
        var length: Int64 = 0
        var parts: UnsafeMutablePointer<Double>?
        var partsLength: Int64 = 0
    }

    typealias Run = (Numbers) throws(LossError) -> Void

    let task: Task
    let wantsItems: Bool
    /// Of the prediction, and so of a map that lies as it does.
    let hasChannelsLast: Bool

    /// A loss, and how its parts become a C struct of doubles behind its size.
    func callAsFunction<L: Loss, P: Sized>(
        _ loss: L, extraParts: Int = 0, _ write: @escaping (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: @escaping (L.Parts) -> [Double] = { _ in [] }
    ) throws(LossError) -> Run {
        guard !wantsItems else { throw Program.refusal("this loss has no items") }
        let count = MemoryLayout<P>.size / 8 - 1
        let statisticsCount = loss.statisticsCount
        func requireRoom(_ numbers: Numbers) throws(LossError) {
            guard numbers.parts == nil || numbers.partsLength == count + extraParts else {
                throw LossError(
                    .option, "parts_length: expected \(count + extraParts), got \(numbers.partsLength)")
            }
        }
        func deliver(_ parts: L.Parts, to numbers: Numbers, _ value: Tensor?) {
            withUnsafeTemporaryAllocation(byteCount: MemoryLayout<P>.size, alignment: 8) { memory in
                memory.storeBytes(of: UInt32(memory.count), as: UInt32.self)
                write(parts, memory.baseAddress?.assumingMemoryBound(to: P.self))
                if let numbers = numbers.parts {
                    for i in 0..<count { numbers[i] = memory.load(fromByteOffset: (i + 1) * 8, as: Double.self) }
                    for (i, part) in extra(parts).enumerated() { numbers[count + i] = part }
                }
                value?.write(number: memory.load(fromByteOffset: 8, as: Double.self))
            }
        }
        switch task {
        case .outputs(let statistics, let parts, let value):
            return { _ in
                statistics?.pointee = Int64(statisticsCount)
                parts?.pointee = Int64(count + extraParts)
                value?.pointee = dense(loss.predictions[0].type == .f64 ? .f64 : .f32, Extents())
            }
        case .passes(let passes): return { _ in passes.pointee = Int32(loss.passes) }
        case .forward(let value, let gradients):
            let planned = try loss.planned(gradients)
            return { (numbers) throws(LossError) in
                // Nothing is written before all that can be refused has been looked at.
                if numbers.statistics != nil { try loss.requireStatistics(count: Int(numbers.length)) }
                try requireRoom(numbers)
                let sums: [Double]
                if gradients.isEmpty {
                    sums = try planned.statistics()
                    if numbers.parts != nil || value != nil { deliver(try loss.parts(sums), to: numbers, value) }
                } else {
                    let both = try planned.evaluate(gradOutput: 1)
                    sums = both.statistics
                    deliver(both.parts, to: numbers, value)
                }
                if let statistics = numbers.statistics {
                    for i in 0..<sums.count { statistics[i] = sums[i] }
                }
            }
        case .value(let value):
            return { (numbers) throws(LossError) in
                try requireRoom(numbers)
                deliver(try loss.parts(added(numbers, count: statisticsCount)), to: numbers, value)
            }
        case .gradient(let factor, let gradients):
            try factor.requireNumber()
            let planned = try loss.planned(gradients)
            return { (numbers) throws(LossError) in
                _ = try planned.finish(added(numbers, count: statisticsCount), gradOutput: factor.firstNumber)
            }
        }
    }

    /// One that is reduced from items, which are asked for or not.
    func callAsFunction<L: ItemLoss, P: Sized>(
        itemsOf loss: L, extraParts: Int = 0, _ write: @escaping (L.Parts, UnsafeMutablePointer<P>?) -> Void,
        extra: @escaping (L.Parts) -> [Double] = { _ in [] }
    ) throws(LossError) -> Run {
        guard wantsItems else { return try self(loss, extraParts: extraParts, write, extra: extra) }
        return try items(
            loss.itemsShape, loss.itemsAreElements, like: loss.predictions[0]
        ) { (factor, values, gradients) throws(LossError) in
            try loss.items(gradOutput: factor, values: values, gradients: gradients)
        }
    }

    /// Items of this shape: numbers of elements, in the prediction's type, or of more.
    func items(
        _ shape: Extents, _ areElements: Bool, like prediction: Tensor,
        _ run: @escaping (Tensor?, Tensor?, [Tensor?]) throws(LossError) -> Void
    ) throws(LossError) -> Run {
        guard wantsItems else { throw Program.refusal("this loss is a map, which items stand for") }
        let rank = prediction.shape.rank
        let moves = hasChannelsLast && areElements && shape.rank == rank
        func inOrder(_ items: Tensor) -> Tensor { moves && items.shape.rank == rank ? items.channelsFirst() : items }
        switch task {
        case .outputs(let statistics, let parts, let value):
            return { _ in
                statistics?.pointee = 0
                parts?.pointee = 0
                let shape = moves ? Extents([shape[0]] + (2..<rank).map { shape[$0] } + [shape[1]]) : shape
                value?.pointee = dense(areElements || prediction.type == .f64 ? prediction.type : .f32, shape)
            }
        case .passes(let passes): return { _ in passes.pointee = 2 }
        case .forward(let value, let gradients):
            let value = value.map(inOrder)
            guard !gradients.isEmpty else { return { (_) throws(LossError) in try run(nil, value, [nil, nil]) } }
            let strides = Extents([Int](repeating: 0, count: shape.rank))
            return { (_) throws(LossError) in
                var one = 1.0
                try withUnsafeMutablePointer(to: &one) { (one) throws(LossError) in
                    try run(
                        Tensor("grad_output", data: one, type: .f64, shape: shape, strides: strides), value, gradients)
                }
            }
        case .value: throw Program.refusal("items have no statistics")
        case .gradient(let factor, let gradients):
            let factor = inOrder(factor)
            return { (_) throws(LossError) in try run(factor, nil, gradients) }
        }
    }
}

/// Statistics of one batch, of those of several one after the other.
private func added(_ numbers: Request.Numbers, count: Int) throws(LossError) -> [Double] {
    guard let statistics = numbers.statistics else {
        throw LossError(.nullPointer, "statistics: expected an array, got NULL")
    }
    let length = numbers.length
    guard count > 0 ? length > 0 && Int(length) % count == 0 : length == 0 else {
        throw LossError(.statistics, "statistics: expected \(count) entries, or several times that, got \(length)")
    }
    var sum = Array(UnsafeBufferPointer(start: statistics, count: count))
    for start in stride(from: count, to: Int(length), by: max(count, 1)) {
        for i in 0..<count { sum[i] += statistics[start + i] }
    }
    return sum
}

private func dense(_ type: ElementType, _ shape: Extents) -> segloss_tensor {
    let (code, bits): (Int, UInt8) =
        switch type {
        case .f32: (SEGLOSS_TYPE_FLOAT, 32)
        case .f64: (SEGLOSS_TYPE_FLOAT, 64)
        case .f16: (SEGLOSS_TYPE_FLOAT, 16)
        case .bf16: (SEGLOSS_TYPE_BFLOAT, 16)
        case .u8: (SEGLOSS_TYPE_UINT, 8)
        case .i32: (SEGLOSS_TYPE_INT, 32)
        case .i64: (SEGLOSS_TYPE_INT, 64)
        }
    var tensor = segloss_tensor()
    tensor.device_type = Int32(SEGLOSS_DEVICE_CPU)
    (tensor.type_code, tensor.type_bits, tensor.type_lanes) = (UInt8(code), bits, 1)
    tensor.rank = Int32(shape.rank)
    tensor.flags = UInt32(SEGLOSS_DENSE)
    withUnsafeMutableBytes(of: &tensor.shape) { memory in
        for i in 0..<shape.rank { memory.storeBytes(of: Int64(shape[i]), toByteOffset: i * 8, as: Int64.self) }
    }
    return tensor
}
