import CLosses
import LossCore

// What the losses with classes have in common.

/// An array that comes with its length; nil for NULL.
func optionalNumbers<T: BitwiseCopyable>(
    _ name: StaticString, _ pointer: UnsafePointer<T>?, _ length: Int64
) throws(LossError) -> [T]? {
    guard length >= 0, length <= 1 << 16 else {
        throw LossError(.option, "\(name): expected a length from 0 to 65536, got \(length)")
    }
    guard let pointer else {
        guard length == 0 else { throw LossError(.nullPointer, "\(name): expected \(length) numbers, got NULL") }
        return nil
    }
    return Array(UnsafeBufferPointer(start: pointer, count: Int(length)))
}

func numbers<T: BitwiseCopyable>(
    _ name: StaticString, _ pointer: UnsafePointer<T>?, _ length: Int64
) throws(LossError) -> [T] {
    try optionalNumbers(name, pointer, length) ?? []
}

func reduction(_ value: Int32) throws(LossError) -> Classes.Reduction {
    guard let reduction = Classes.Reduction(rawValue: value) else {
        throw LossError(.option, "reduction: expected 0 or 1, got \(value)")
    }
    return reduction
}

/// Just a reduction.
func plain(_ value: Int32) throws(LossError) -> Classes {
    var classes = Classes()
    classes.reduction = try reduction(value)
    return classes
}

func classes(_ pointer: UnsafePointer<segloss_classes>?) throws(LossError) -> Classes {
    let o = try options("classes", pointer, segloss_classes_default())
    try requireUnused(o.reserved)
    guard let activation = Classes.Activation(rawValue: o.activation) else {
        throw LossError(.option, "activation: expected 0 to 2, got \(o.activation)")
    }
    guard let average = Classes.Average(rawValue: o.average) else {
        throw LossError(.option, "average: expected 0 or 1, got \(o.average)")
    }
    guard let absent = Classes.Absent(rawValue: o.absent) else {
        throw LossError(.option, "absent: expected 0 to 2, got \(o.absent)")
    }
    var classes = try plain(o.reduction)
    (classes.activation, classes.average, classes.absent) = (activation, average, absent)
    classes.perSample = try flag("per_sample", o.per_sample)
    classes.ignored = try flag("has_ignore_index", o.has_ignore_index) ? Int(o.ignore_index) : nil
    classes.weights = try optionalNumbers("class_weight", o.class_weight, o.class_weight_length)
    classes.chosen = try optionalNumbers("classes", o.classes, o.classes_length).map { $0.map { Int($0) } }
    return classes
}

func write(_ parts: OverlapLoss<some OverlapFormula>.Parts, to out: UnsafeMutablePointer<segloss_overlap_parts>?) {
    write(segloss_overlap_parts(struct_size: 0, reserved: 0, loss: parts.loss, count: parts.count), to: out)
}

func write(_ parts: PointwiseLoss<some PointwiseTerm>.Parts, to out: UnsafeMutablePointer<segloss_mean_parts>?) {
    write(segloss_mean_parts(struct_size: 0, reserved: 0, loss: parts.loss, count: parts.count), to: out)
}
