import KernelTable

/// What a multi-class loss does with its classes; the defaults are the published form, one score for everything.
public struct Classes: Sendable {
    public enum Activation: Int32, Sendable {
        case sigmoid = 0
        /// Over dimension 1.
        case softmax = 1
        /// The prediction is probabilities.
        case none = 2
    }

    public enum Average: Int32, Sendable {
        /// All classes mixed.
        case micro = 0
        /// A score for each class, then their mean.
        case macro = 1
    }

    /// An item whose target is empty.
    public enum Absent: Int32, Sendable {
        /// As the formula has it.
        case count = 0
        /// Left out of the mean.
        case skip = 1
        /// 0 with zero gradient, and in the mean.
        case zero = 2
    }

    public enum Reduction: Int32, Sendable {
        case mean = 0
        case sum = 1
    }

    public var activation = Activation.sigmoid
    public var average = Average.micro
    public var perSample = false
    public var absent = Absent.count
    public var reduction = Reduction.mean
    /// A factor for each class.
    public var weights: [Double]?
    /// The classes that take part; nil: all.
    public var chosen: [Int]?
    /// Elements with this target do not exist.
    public var ignored: Int?

    public init() {}

    /// Labels are compared in float32, where every whole number up to here is no other one (2^24 is also 2^24 + 1).
    static let labelLimit = (1 << 24) - 1

    static func requireIgnored(_ label: Int) throws(LossError) {
        guard label.magnitude <= labelLimit else {
            throw LossError(
                .option, "ignore_index: expected a number from -\(labelLimit) to \(labelLimit), got \(label)")
        }
    }

    func require(channels: Int) throws(LossError) {
        if let weights {
            guard weights.count == channels else {
                throw LossError(
                    .option, "class_weight: expected \(channels) numbers, one a class, got \(weights.count)")
            }
            for (i, weight) in weights.enumerated() where !weight.isFinite {
                throw LossError(.option, "class_weight: expected finite numbers, got \(weight) for class \(i)")
            }
        }
        if let chosen {
            guard !chosen.isEmpty else { throw LossError(.option, "classes: expected at least one class") }
            var seen = [Bool](repeating: false, count: channels)
            for c in chosen {
                guard c >= 0, c < channels else {
                    throw LossError(.option, "classes: expected classes from 0 to \(channels - 1), got \(c)")
                }
                guard !seen[c] else { throw LossError(.option, "classes: \(c) is there twice") }
                seen[c] = true
            }
        }
        if let ignored { try Self.requireIgnored(ignored) }
    }
}
