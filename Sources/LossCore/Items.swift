import KernelTable

/// The parts of a loss that is reduced from items: one for each sample, class or both.
public protocol ItemParts {
    /// The value of each item.
    var items: [Double] { get }
    /// What each item's gradient is multiplied by: the reduction's share, or an upstream factor of its own.
    var factors: [Double] { get set }
}

extension Loss where Parts: ItemParts {
    /// Without the reduction: each item's value, and the gradient of Σ gradOutput·item.
    public func items(
        shape: Extents, gradOutput: Tensor?, values: Tensor?, gradients: [Tensor?]
    ) throws(LossError) {
        for tensor in [gradOutput, values] {
            try tensor?.requireFloating()
            try tensor?.requireShape(shape, "one number an item")
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
        let statistics = try statistics()
        var parts = try parts(statistics)
        values?.write(parts.items, plan.sweep.execution)
        parts.factors =
            gradOutput?.read(plan.sweep.execution) ?? [Double](repeating: 1, count: parts.items.count)
        try writeGradients(parts, 1, gradients)
    }
}

extension Tensor {
    /// A few elements, in logical order.
    func read(_ execution: Execution) -> [Double] {
        let conversion = execution.dispatch.kernels.pointee.to_f64[type]
        return (0..<count).map { index in
            var value = 0.0
            conversion.widen(data + offset(of: index) * type.bytes, 1, &value, 1)
            return value
        }
    }

    func write(_ values: [Double], _ execution: Execution) {
        // Items are asked for in floating types only, and those can be narrowed to.
        let narrow = execution.dispatch.kernels.pointee.to_f64[type].narrow.unsafelyUnwrapped
        for (index, value) in values.enumerated() {
            var value = value
            narrow(&value, data + offset(of: index) * type.bytes, 1, 1)
        }
    }
}
