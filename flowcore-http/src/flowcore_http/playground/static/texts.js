// The words of the page, in English and Chinese.

import { remembered, remember } from "./memory.js";

const WORDS = {
  en: {
    answer: "Answer",
    api: "API",
    arguments: "Arguments",
    calls_tool: "Tool call",
    chunks: "Chunks",
    clear: "Clear",
    close: "Close",
    code: "Call it from elsewhere",
    code_language: "Language of the example",
    copied: "Copied",
    copy: "Copy",
    copy_answer: "Copy answer",
    copy_code: "Copy this block",
    cut_text: "The connection was lost before the end. What you see is only a part of the answer.",
    data: "Data",
    default_is: "default {value}",
    empty_text: "Fill in the inputs and run the flow. Its answer appears here as it is made.",
    empty_title: "Nothing has run yet",
    error_code: "Code",
    error_id: "Error id",
    error_hint: "The log of the service tells more under this id. “flowcore explain {code}” explains the code.",
    error_op: "Op",
    extra_hint: "This flow names no inputs. Any JSON object is passed on to its ops.",
    fault_array: "Write a JSON array, such as [1, 2].",
    fault_integer: "Write a whole number, such as 3.",
    fault_json: "This is not valid JSON: {reason}",
    fault_number: "Write a number, such as 0.5.",
    fault_object: "Write a JSON object, such as {\"key\": \"value\"}.",
    fault_precision: "This number is too large to be sent exactly from a form; use JSON instead.",
    fault_required: "This input is required.",
    filter: "Find a flow",
    first_chunk: "First chunk",
    flows: "Flows",
    flows_none: "This service has no flows yet.",
    forget_key: "Forget key",
    form: "Form",
    form_mode: "How to write the inputs",
    gap_text: "Events {first} to {last} are missing: they were no longer kept when the stream was resumed.",
    graph: "Graph",
    history: "History of this tab",
    inputs: "Inputs",
    inputs_faulty: "Please look at the inputs that are marked.",
    json: "JSON",
    json_body: "JSON object that is sent",
    key: "Key",
    key_text: "The key stays in this tab, and is gone when you close it.",
    key_title: "This service asks for a key",
    key_wrong: "This key is not known to the service.",
    metadata: "Metadata",
    no_flows_match: "No flow has this in its name.",
    not_sent: "not sent",
    one_answer: "one answer",
    page: "Page",
    per_second: "Chunks/s",
    playground: "playground",
    read_on: "Read on",
    required: "required",
    result: "Result",
    run: "Run",
    run_again: "Run again",
    service_lost: "The service cannot be reached. Is it still running?",
    shortcut_flows: "Go to the flows",
    shortcut_help: "Show these shortcuts",
    shortcut_run: "Run the flow",
    shortcut_stop: "Stop the run",
    shortcuts: "Keyboard shortcuts",
    skip: "Skip to the result",
    state_cut: "Cut",
    state_done: "Finished",
    state_failed: "Failed",
    state_invalid: "Not started",
    state_reconnecting: "Connecting again",
    state_refused: "Refused",
    state_running: "Running",
    state_starting: "Waiting",
    state_stopped: "Stopped",
    state_stopping: "Stopping",
    status_cut: "The stream was cut.",
    status_done: "Finished in {seconds} seconds.",
    status_failed: "The run failed: {reason}",
    status_invalid: "The service did not accept the inputs.",
    status_reconnecting: "The connection was lost; connecting again.",
    status_refused: "The service refused the request: {reason}",
    status_running: "The answer is coming.",
    status_starting: "Running {flow}.",
    status_stopped: "Stopped.",
    status_stopping: "Stopping.",
    stop: "Stop",
    streams: "streams",
    table: "Table",
    theme_auto: "Theme: as the system",
    theme_dark: "Theme: dark",
    theme_light: "Theme: light",
    thinking: "Thinking",
    thought: "Thought",
    tokens: "Tokens",
    tokens_split: "{prompt} in, {completion} out",
    too_much: "Only the first {shown} characters are shown; {more} more have come.",
    tool: "Tool",
    tool_result: "Result",
    total: "Total",
    unsuccessful: "The flow says that it did not succeed.",
    use_key: "Use key",
  },
  zh: {
    answer: "回答",
    api: "API",
    arguments: "参数",
    calls_tool: "工具调用",
    chunks: "数据块",
    clear: "清空",
    close: "关闭",
    code: "在别处调用",
    code_language: "示例语言",
    copied: "已复制",
    copy: "复制",
    copy_answer: "复制回答",
    copy_code: "复制这段代码",
    cut_text: "连接在结束之前断开，这里看到的只是回答的一部分。",
    data: "数据",
    default_is: "默认 {value}",
    empty_text: "填写输入并运行流程，回答会在生成的同时显示在这里。",
    empty_title: "还没有运行",
    error_code: "代码",
    error_id: "错误编号",
    error_hint: "服务日志中可用此编号查到详情；“flowcore explain {code}” 会解释代码。",
    error_op: "Op",
    extra_hint: "此流程没有声明输入，任何 JSON 对象都会原样传给它的 Op。",
    fault_array: "请写一个 JSON 数组，例如 [1, 2]。",
    fault_integer: "请写一个整数，例如 3。",
    fault_json: "不是有效的 JSON：{reason}",
    fault_number: "请写一个数，例如 0.5。",
    fault_object: "请写一个 JSON 对象，例如 {\"key\": \"value\"}。",
    fault_precision: "这个数太大，表单无法精确发送，请改用 JSON。",
    fault_required: "此项必填。",
    filter: "查找流程",
    first_chunk: "首块用时",
    flows: "流程",
    flows_none: "此服务还没有流程。",
    forget_key: "忘记密钥",
    form: "表单",
    form_mode: "输入方式",
    gap_text: "缺少第 {first} 到第 {last} 个事件：恢复连接时它们已不再保留。",
    graph: "流程图",
    history: "本标签页的历史",
    inputs: "输入",
    inputs_faulty: "请检查标出的输入。",
    json: "JSON",
    json_body: "要发送的 JSON 对象",
    key: "密钥",
    key_text: "密钥只保存在此标签页中，关闭后即消失。",
    key_title: "此服务需要密钥",
    key_wrong: "服务不认识这个密钥。",
    metadata: "元数据",
    no_flows_match: "没有名称匹配的流程。",
    not_sent: "不发送",
    one_answer: "单次回答",
    page: "页面",
    per_second: "块/秒",
    playground: "演练场",
    read_on: "继续读取",
    required: "必填",
    result: "结果",
    run: "运行",
    run_again: "再次运行",
    service_lost: "无法连接服务，它还在运行吗？",
    shortcut_flows: "转到流程列表",
    shortcut_help: "显示这些快捷键",
    shortcut_run: "运行流程",
    shortcut_stop: "停止运行",
    shortcuts: "键盘快捷键",
    skip: "跳到结果",
    state_cut: "已中断",
    state_done: "已完成",
    state_failed: "失败",
    state_invalid: "未开始",
    state_reconnecting: "重新连接中",
    state_refused: "被拒绝",
    state_running: "运行中",
    state_starting: "等待中",
    state_stopped: "已停止",
    state_stopping: "停止中",
    status_cut: "数据流中断了。",
    status_done: "已完成，用时 {seconds} 秒。",
    status_failed: "运行失败：{reason}",
    status_invalid: "服务没有接受这些输入。",
    status_reconnecting: "连接断开，正在重新连接。",
    status_refused: "服务拒绝了请求：{reason}",
    status_running: "回答正在到来。",
    status_starting: "正在运行 {flow}。",
    status_stopped: "已停止。",
    status_stopping: "正在停止。",
    stop: "停止",
    streams: "流式",
    table: "表格",
    theme_auto: "主题：跟随系统",
    theme_dark: "主题：深色",
    theme_light: "主题：浅色",
    thinking: "思考中",
    thought: "思考过程",
    tokens: "词元",
    tokens_split: "输入 {prompt}，输出 {completion}",
    too_much: "只显示前 {shown} 个字符，另有 {more} 个已收到。",
    tool: "工具",
    tool_result: "结果",
    total: "总用时",
    unsuccessful: "流程报告没有成功。",
    use_key: "使用密钥",
  },
};

const LANGUAGES = { en: "en", zh: "zh-CN" };
let language = "en";

export function t(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// Gives a node its words, which it changes with the language.
export function say(node, key, values) {
  node.dataset.text = key;
  if (values) node.dataset.values = JSON.stringify(values);
  else delete node.dataset.values;
  node.textContent = t(key, values);
  return node;
}

// Gives a node a name, for those who cannot see what it looks like.
export function label(node, key) {
  node.dataset.label = key;
  node.setAttribute("aria-label", t(key));
  if (node.localName === "button") node.title = t(key);
  return node;
}

// Gives all nodes in `root` their words in the language of now.
export function translate(root) {
  for (const node of root.querySelectorAll("[data-text]")) {
    const { text, values } = node.dataset;
    node.textContent = t(text, values ? JSON.parse(values) : {});
  }
  for (const node of root.querySelectorAll("[data-label]")) label(node, node.dataset.label);
  for (const node of root.querySelectorAll("[data-placeholder]")) {
    node.placeholder = t(node.dataset.placeholder);
  }
}

export function setUpLanguage(button) {
  const show = () => {
    const other = language === "en" ? "zh" : "en";
    button.textContent = other === "zh" ? "中文" : "English";
    button.lang = LANGUAGES[other];
    document.documentElement.lang = LANGUAGES[language];
    document.title = `flowcore ${t("playground")}`;
    translate(document);
  };
  const preferred = remembered("language") ?? navigator.language.slice(0, 2).toLowerCase();
  language = preferred === "zh" ? "zh" : "en";
  button.addEventListener("click", () => {
    language = language === "en" ? "zh" : "en";
    remember("language", language);
    show();
  });
  show();
}
