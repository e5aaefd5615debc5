import CLosses
import LossCore

private func loss(
    _ input: UnsafePointer<segloss_tensor>?, _ target: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_active_contour_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> ActiveContourLoss {
    let o = try options("options", pointer, segloss_active_contour_options_default())
    try requireUnused(o.reserved)
    guard let variant = ActiveContour.Variant(rawValue: o.variant) else {
        throw LossError(.option, "variant: expected 0 or 1, got \(o.variant)")
    }
    return try ActiveContourLoss(
        ActiveContour(
            variant: variant, weight: o.weight, regionWeight: o.region_weight, inner: o.c_in, outer: o.c_out,
            fromLogits: flag("from_logits", o.from_logits)),
        pred: tensor("input", input), target: tensor("target", target), execution(run))
}

private func write(_ parts: ActiveContourLoss.Parts, to out: UnsafeMutablePointer<segloss_active_contour_parts>?) {
    write(
        segloss_active_contour_parts(
            struct_size: 0, reserved: 0, loss: parts.loss, length: parts.length, region: parts.region,
            length_count: parts.lengthCount, count: parts.count), to: out)
}

@_cdecl("segloss_active_contour") @implementation
public func segloss_active_contour(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_active_contour_options>!, _ grad_output: Double,
    _ parts: UnsafeMutablePointer<segloss_active_contour_parts>!, _ grad_input: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try oneCall(
            loss(input, target, options, execution), parts, grad_output, ("grad_input", grad_input), write)
    }
}

@_cdecl("segloss_active_contour_statistics") @implementation
public func segloss_active_contour_statistics(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_active_contour_options>!, _ statistics: UnsafeMutablePointer<Double>!,
    _ length: Int64, _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try writeStatistics(loss(input, target, options, execution), to: statistics, length)
    }
}

@_cdecl("segloss_active_contour_finish") @implementation
public func segloss_active_contour_finish(
    _ input: UnsafePointer<segloss_tensor>!, _ target: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_active_contour_options>!, _ statistics: UnsafePointer<Double>!, _ length: Int64,
    _ grad_output: Double, _ parts: UnsafeMutablePointer<segloss_active_contour_parts>!,
    _ grad_input: UnsafePointer<segloss_tensor>!, _ execution: UnsafePointer<segloss_execution>!,
    _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try finishCall(
            loss(input, target, options, execution), statistics, length, parts, grad_output, ("grad_input", grad_input),
            write)
    }
}

extension Entry {
    static let activeContour = Entry("active_contour", gradients: ["grad_input"], constants: 1) {
        (t, o, e, run) throws(LossError) in
        try run(loss(t[0], t[1], o.bound(), e), write)
    }
}
