import CLosses
import LossCore

private func step(
    _ prob: UnsafePointer<segloss_tensor>?, _ thresh: UnsafePointer<segloss_tensor>?,
    _ pointer: UnsafePointer<segloss_db_step_options>?, _ run: UnsafePointer<segloss_execution>?
) throws(LossError) -> DBStep {
    let o = try options("options", pointer, segloss_db_step_options_default())
    try requireUnused(o.reserved)
    return try DBStep(prob: tensor("prob", prob), thresh: tensor("thresh", thresh), k: o.k, execution(run))
}

@_cdecl("segloss_db_step") @implementation
public func segloss_db_step(
    _ prob: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ options: UnsafePointer<segloss_db_step_options>!, _ out: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try step(prob, thresh, options, execution).value(to: tensor("out", out))
    }
}

@_cdecl("segloss_db_step_backward") @implementation
public func segloss_db_step_backward(
    _ prob: UnsafePointer<segloss_tensor>!, _ thresh: UnsafePointer<segloss_tensor>!,
    _ grad_output: UnsafePointer<segloss_tensor>!, _ options: UnsafePointer<segloss_db_step_options>!,
    _ grad_prob: UnsafePointer<segloss_tensor>!, _ grad_thresh: UnsafePointer<segloss_tensor>!,
    _ execution: UnsafePointer<segloss_execution>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        try step(prob, thresh, options, execution).backward(
            gradOutput: tensor("grad_output", grad_output), gradProb: optionalTensor("grad_prob", grad_prob),
            gradThresh: optionalTensor("grad_thresh", grad_thresh))
    }
}

extension Entry {
    static let dbStep = Entry(
        "db_step", gradients: ["grad_prob", "grad_thresh"], constants: 0
    ) { (t, o, e, run) throws(LossError) in
        let step = try step(t[0], t[1], o.bound(), e)
        let prob = try tensor("prob", t[0])
        return try run.items(prob.shape, true, like: prob) { (gradOutput, value, gradients) throws(LossError) in
            try step.check(out: value, gradOutput: gradOutput, gradProb: gradients[0], gradThresh: gradients[1])
            if let value { try step.value(to: value) }
            if let gradOutput {
                try step.backward(gradOutput: gradOutput, gradProb: gradients[0], gradThresh: gradients[1])
            }
        }
    }
}
