import CLosses
import LossCore

/// The names of a list's tensors, for sentences.
private struct Names {
    let list: StaticString
    let elements: [StaticString]
}

private let predNames = Names(
    list: "preds",
    elements: [
        "preds[0]", "preds[1]", "preds[2]", "preds[3]", "preds[4]", "preds[5]", "preds[6]", "preds[7]", "preds[8]",
        "preds[9]", "preds[10]", "preds[11]", "preds[12]", "preds[13]", "preds[14]", "preds[15]",
    ])

private let gradNames = Names(
    list: "grad_preds",
    elements: [
        "grad_preds[0]", "grad_preds[1]", "grad_preds[2]", "grad_preds[3]", "grad_preds[4]", "grad_preds[5]",
        "grad_preds[6]", "grad_preds[7]", "grad_preds[8]", "grad_preds[9]", "grad_preds[10]", "grad_preds[11]",
        "grad_preds[12]", "grad_preds[13]", "grad_preds[14]", "grad_preds[15]",
    ])

private func tensors(
    _ names: Names, _ pointer: UnsafePointer<segloss_tensor>?, _ count: Int32
) throws(LossError) -> [Tensor] {
    guard (1...names.elements.count).contains(Int(count)) else {
        throw LossError(.option, "levels: expected 1 to \(names.elements.count) predictions, got \(count)")
    }
    guard let pointer else { throw LossError(.nullPointer, "\(names.list): expected \(count) tensors, got NULL") }
    var tensors: [Tensor] = []
    for i in 0..<Int(count) { tensors.append(try tensor(names.elements[i], pointer + i)) }
    return tensors
}

private func gradients(
    _ pointer: UnsafePointer<segloss_tensor>?, _ levels: Int32
) throws(LossError) -> [Tensor?] {
    guard pointer != nil else { return [Tensor?](repeating: nil, count: Int(levels)) }
    return try tensors(gradNames, pointer, levels).map { .some($0) }
}

private func loss(
    _ levels: [Tensor], _ mask: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_structure_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> StructureLoss {
    let o = try options("options", pointer, segloss_structure_options_default())
    try requireUnused(o.reserved)
    guard let variant = Structure.Variant(rawValue: o.variant) else {
        throw LossError(.option, "variant: expected 0 to 2, got \(o.variant)")
    }
    return try StructureLoss(
        Structure(
            variant: variant, kernelSize: Int(o.kernel_size), gain: o.gain, smooth: o.smooth,
            countsPadding: flag("count_include_pad", o.count_include_pad)),
        levels: levels, mask: tensor("mask", mask), execution(run))
}

private func write(_ parts: StructureLoss.Parts, to out: UnsafeMutablePointer<segloss_structure_parts>?) {
    write(
        segloss_structure_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, bce_loss: parts.crossEntropy, iou_loss: parts.overlap,
            count: parts.count), to: out)
}

/// SEGLOSS_STRUCTURE_LEVEL_PARTS numbers of each level.
private func levelParts(_ parts: StructureLoss.Parts) -> [Double] {
    parts.levels.flatMap { [$0.loss, $0.crossEntropy, $0.overlap] }
}

private func write(
    _ parts: StructureLoss.Parts, to out: UnsafeMutablePointer<segloss_structure_parts>?,
    levels: UnsafeMutablePointer<Double>?
) {
    write(parts, to: out)
    guard let levels else { return }
    for (i, part) in levelParts(parts).enumerated() { levels[i] = part }
}

@_cdecl("segloss_structure") @implementation
public func segloss_structure(
    _ preds: UnsafePointer<segloss_tensor>!, _ levels: Int32, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_structure_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_structure_parts>!, _ level_parts: UnsafeMutablePointer<Double>!,
    _ grad_preds: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        let loss = try loss(tensors(predNames, preds, levels), mask, options, execution)
        write(
            try loss(gradOutput: grad_output, gradients: gradients(grad_preds, levels)), to: parts, levels: level_parts)
    }
}

@_cdecl("segloss_structure_statistics") @implementation
public func segloss_structure_statistics(
    _ preds: UnsafePointer<segloss_tensor>!, _ levels: Int32, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_structure_options>!, _ statistics: UnsafeMutablePointer<Double>!,
    _ length: Int64, _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(
            loss(tensors(predNames, preds, levels), mask, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_structure_finish") @implementation
public func segloss_structure_finish(
    _ preds: UnsafePointer<segloss_tensor>!, _ levels: Int32, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_structure_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_structure_parts>!,
    _ level_parts: UnsafeMutablePointer<Double>!, _ grad_preds: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try check(parts: parts)
        write(
            try finish(
                loss(tensors(predNames, preds, levels), mask, options, execution), statistics, length,
                grad_output, gradients(grad_preds, levels)), to: parts, levels: level_parts)
    }
}

@_cdecl("segloss_structure_items") @implementation
public func segloss_structure_items(
    _ pred: UnsafePointer<segloss_tensor>!, _ mask: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_structure_options>!, _ grad_output: UnsafePointer<segloss_tensor>!,
    _ values: UnsafePointer<segloss_tensor>!, _ grad_pred: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try itemsCall(
            loss([tensor("pred", pred)], mask, options, execution), grad_output, values, ("grad_pred", grad_pred))
    }
}

extension Entry {
    static let structure = Entry(
        "structure", gradients: gradNames.elements, constants: 1, isList: true
    ) { (t, o, e, run) throws(LossError) in
        let levels = t.count - 1
        return try run(
            itemsOf: loss(tensors(predNames, t.tensors, Int32(levels)), t[levels], o.bound(), e),
            extraParts: levels * SEGLOSS_STRUCTURE_LEVEL_PARTS, write, extra: levelParts)
    }
}
