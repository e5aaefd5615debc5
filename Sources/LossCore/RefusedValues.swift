import CSystem
import KernelTable

// Values that a call refuses are found while a sweep reads them; only then is the first of them looked for.

extension Sweep {
    private func isRefused(_ operand: Operand, _ values: UnsafeRawPointer, _ padded: Int) -> Bool {
        if execution.nonFinite == .refuse, !kernels.is_finite(values, padded) { return true }
        if let labels = operand.labels, !kernels.are_labels(values, Double(labels.classes), labels.ignoredValue, padded)
        {
            return true
        }
        return operand.isProbability && !kernels.is_probability(values, operand.exempt ?? .nan, padded)
    }

    /// Whether any value is.
    var refusesValues: Bool {
        execution.nonFinite == .refuse || inputs.contains { $0.isProbability || $0.labels != nil }
    }

    /// Checks a block of operand i.
    func accepts(_ i: Int, _ values: UnsafeRawPointer, _ padded: Int) -> Bool {
        !isRefused(inputs[i], values, padded)
    }

    /// The first value that made a sweep fail, in the order of the operands.
    func firstRefusedValue() -> LossError {
        let lanes = KERNEL_LANES
        return withUnsafeTemporaryAllocation(byteCount: 2 * lanes * 8, alignment: 64) { memory in
            let one = memory.baseAddress.unsafelyUnwrapped
            let total = groups * groupSize
            for (i, operand) in inputs.enumerated()
            where operand.isProbability || operand.labels != nil || execution.nonFinite == .refuse {
                let read = conversions.pointee[operand.tensor.type].widen
                for index in 0..<total {
                    memset(one, 0, 2 * lanes * 8)
                    func value(of i: Int) -> Double {
                        let tensor = inputs[i].tensor
                        conversions.pointee[tensor.type].widen(
                            tensor.data + tensor.offset(of: index) * tensor.type.bytes, 1, one, 1)
                        return isDouble ? one.load(as: Double.self) : Double(one.load(as: Float.self))
                    }
                    // (Only non-finite values of these are refused, and then masked ones too.)
                    if let positions, i < positions.classes, let ignored = positions.ignored,
                        (0..<positions.classes).allSatisfy({ value(of: ignored.operand + $0) == ignored.value })
                    {
                        continue
                    }
                    if let mask = operand.mask, execution.nonFinite == .skipMasked, value(of: mask) == 0 { continue }
                    if let ignored = operand.ignored, value(of: ignored.operand) == ignored.value { continue }
                    let tensor = operand.tensor
                    read(tensor.data + tensor.offset(of: index) * tensor.type.bytes, 1, one, 1)
                    guard isRefused(operand, one, lanes) else { continue }
                    let value = isDouble ? one.load(as: Double.self) : Double(one.load(as: Float.self))
                    let place = "\(tensor.name): \(value) at index \(tensor.subscripts(of: index))"
                    if let labels = operand.labels {
                        let isWhole = value.rounded(.towardZero) == value && value.magnitude < 0x1p63
                        let number = isWhole ? "\(Int(value))" : "\(value)"
                        let ignored = labels.ignored.map { " or \($0), the one to ignore" } ?? ""
                        return LossError(
                            .outOfRange,
                            "\(tensor.name): \(number) at index \(tensor.subscripts(of: index)): expected a label from 0 "
                                + "to \(labels.classes - 1)\(ignored)")
                    }
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
