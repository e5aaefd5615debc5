import KernelTable

/// A loss that is reduced from items: numbers of a sample or class, or of every element.
public protocol ItemLoss: Loss {
    var itemsShape: Extents { get }
    /// Whether they are numbers of elements, and so of the prediction's type.
    var itemsAreElements: Bool { get }
    /// Without the reduction: each item's value, and the gradient of Σ gradOutput·item.
    func items(gradOutput: Tensor?, values: Tensor?, gradients: [Tensor?]) throws(LossError)
}

/// The parts of a loss that is reduced from items: one for each sample, class or both.
public protocol ItemParts {
    /// The value of each item.
    var items: [Double] { get }
    /// What each item's gradient is multiplied by: the reduction's share, or an upstream factor of its own.
    var factors: [Double] { get set }
}

extension ItemLoss where Parts: ItemParts {
    public var itemsAreElements: Bool { false }

    public func items(gradOutput: Tensor?, values: Tensor?, gradients: [Tensor?]) throws(LossError) {
        // Refused arguments leave every output untouched: nothing is written before the last check.
        let planned = try planned(gradients)
        let gradients = planned.gradients
        try planned.requireNoOverlap()
        for tensor in [gradOutput, values] {
            try tensor?.requireFloating()
            try tensor?.requireShape(itemsShape, "one number an item")
        }
        if let values {
            try values.requireWritable()
            for other in predictions + constants + [gradOutput].compactMap({ $0 }) + gradients.compactMap({ $0 }) {
                try values.requireNoOverlap(with: other)
            }
        }
        if let gradOutput {
            for gradient in gradients.compactMap({ $0 }) { try gradient.requireNoOverlap(with: gradOutput) }
        }
        var parts = try parts(planned.statistics())
        parts.factors =
            try gradOutput?.read(plan.sweep.execution) ?? [Double](repeating: 1, count: parts.items.count)
        values?.write(parts.items)
        try planned.writeGradients(parts, 1)
    }
}

extension Tensor {
    /// Logical element `index`, whatever its type.
    func number(at index: Int) -> Double {
        var value = 0.0
        Dispatch.current.kernels.pointee.to_f64[type].widen(data + offset(of: index) * type.bytes, 1, &value, 1)
        return value
    }

    /// A few elements, in logical order.
    func read(_ execution: Execution) throws(LossError) -> [Double] {
        var values: [Double] = []
        for index in 0..<count {
            let value = number(at: index)
            guard value.isFinite || execution.nonFinite != .refuse else {
                throw LossError(
                    .nonFinite,
                    "\(name): \(value) at index \(subscripts(of: index)): non-finite values are refused in this call")
            }
            values.append(value)
        }
        return values
    }

    func write(_ values: [Double]) { for i in 0..<values.count { write(values[i], at: i) } }

    private func write(_ value: Double, at index: Int) {
        var value = value
        // Only floating types are written to (validated), and those can be narrowed to.
        let narrow = Dispatch.current.kernels.pointee.to_f64[type].narrow.unsafelyUnwrapped
        narrow(&value, data + offset(of: index) * type.bytes, 1, 1)
    }
}

// One number, as graphs have it.
extension Tensor {
    public func requireNumber() throws(LossError) {
        try requireFloating()
        try requireShape(Extents(), "one number")
    }

    public var firstNumber: Double { number(at: 0) }

    /// Rounded once, to this type.
    public func write(number: Double) { write(number, at: 0) }

    /// Zero everywhere.
    public func clear() {
        for index in 0..<count {
            (data + offset(of: index) * type.bytes).initializeMemory(as: UInt8.self, repeating: 0, count: type.bytes)
        }
    }
}
