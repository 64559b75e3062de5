//! Where a prompt begins and where an answer ends, read from whole
//! checkpoints.

use std::path::Path;

use briquette::chat::{ChatTemplate, Message};
use briquette::checkpoint::{self, Source};
use briquette_engine::text::{EncodeOptions, Tokenizer};
use briquette_tests::{encode, repository};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A value in a GGUF file.
enum Gguf<'a> {
    Number(u32),
    Flag(bool),
    Text(&'a str),
    Texts(&'a [String]),
    Types(&'a [i32]),
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Gguf<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let code = |bytes: &mut Vec<u8>, code: u32| bytes.extend(code.to_le_bytes());
        match self {
            Self::Number(value) => {
                code(bytes, 4);
                bytes.extend(value.to_le_bytes());
            }
            Self::Flag(value) => {
                code(bytes, 7);
                bytes.push(u8::from(*value));
            }
            Self::Text(text) => {
                code(bytes, 8);
                string(bytes, text);
            }
            Self::Texts(texts) => {
                code(bytes, 9);
                code(bytes, 8);
                bytes.extend((texts.len() as u64).to_le_bytes());
                for text in *texts {
                    string(bytes, text);
                }
            }
            Self::Types(types) => {
                code(bytes, 9);
                code(bytes, 5);
                bytes.extend((types.len() as u64).to_le_bytes());
                bytes.extend(types.iter().flat_map(|kind| kind.to_le_bytes()));
            }
        }
    }
}

fn golden(name: &str) -> Value {
    let path = repository().join("tests/golden/tiny-v3").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The golden model's tokenizer as its conversion to GGUF has it, with these
/// keys; no weights, only the header that opening reads.
fn gguf(keys: &[(&str, Gguf<'_>)], pre: &str) -> Source {
    let json = golden("tokenizer.json");
    let mut tokens = vec![String::new(); 512];
    let mut types = vec![1; 512];
    for (text, id) in json["model"]["vocab"].as_object().unwrap() {
        tokens[id.as_u64().unwrap() as usize].clone_from(text);
    }
    for token in json["added_tokens"].as_array().unwrap() {
        let id = token["id"].as_u64().unwrap() as usize;
        token["content"]
            .as_str()
            .unwrap()
            .clone_into(&mut tokens[id]);
        types[id] = if token["special"] == true { 3 } else { 4 };
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> = merges
        .map(|merge| match merge {
            Value::String(text) => text.clone(),
            pair => format!(
                "{} {}",
                pair[0].as_str().unwrap(),
                pair[1].as_str().unwrap()
            ),
        })
        .collect();
    let tokenizer = [
        ("general.architecture", Gguf::Text("llama")),
        ("llama.context_length", Gguf::Number(64)),
        ("llama.embedding_length", Gguf::Number(16)),
        ("llama.block_count", Gguf::Number(1)),
        ("llama.feed_forward_length", Gguf::Number(16)),
        ("llama.attention.head_count", Gguf::Number(2)),
        ("tokenizer.ggml.model", Gguf::Text("gpt2")),
        ("tokenizer.ggml.pre", Gguf::Text(pre)),
        ("tokenizer.ggml.tokens", Gguf::Texts(&tokens)),
        ("tokenizer.ggml.token_type", Gguf::Types(&types)),
        ("tokenizer.ggml.merges", Gguf::Texts(&merges)),
        ("tokenizer.ggml.bos_token_id", Gguf::Number(0)),
        ("tokenizer.ggml.eos_token_id", Gguf::Number(1)),
    ];
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3_u32.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend((tokenizer.len() as u64 + keys.len() as u64 + 1).to_le_bytes());
    for (name, value) in tokenizer.iter().chain(keys) {
        string(&mut bytes, name);
        value.write(&mut bytes);
    }
    string(&mut bytes, "llama.attention.layer_norm_rms_epsilon");
    bytes.extend(6_u32.to_le_bytes());
    bytes.extend(1e-6_f32.to_le_bytes());
    string(&mut bytes, "token_embd.weight");
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend([16_u64, 512].map(u64::to_le_bytes).concat());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(0_u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32) + 16 * 512 * 4, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    checkpoint::open(file.path()).unwrap()
}

/// The golden folder with other keys in its tokenizer's files.
fn folder(tokenizer_config: Value, post_processor: Option<Value>) -> (TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    let from = repository().join("tests/golden/tiny-v3");
    for name in ["config.json", "generation_config.json", "model.safetensors"] {
        std::fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    let mut tokenizer = golden("tokenizer.json");
    if let Some(post_processor) = post_processor {
        tokenizer["post_processor"] = post_processor;
    }
    let mut config = golden("tokenizer_config.json");
    for (key, value) in tokenizer_config.as_object().unwrap() {
        config[key] = value.clone();
    }
    let write = |name: &str, value: &Value| {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    write("tokenizer.json", &tokenizer);
    write("tokenizer_config.json", &config);
    let source = open(folder.path());
    (folder, source)
}

fn open(path: &Path) -> Source {
    checkpoint::open(path).unwrap()
}

/// The ids of a plain prompt, and of a chat with it.
fn prompts(source: &Source, text: &str) -> [Vec<u32>; 2] {
    let tokenizer = Tokenizer::new(&source.tokenizer).unwrap();
    let options = |add_special| EncodeOptions {
        add_special,
        parse_special: true,
    };
    let name = |id: Option<u32>| {
        let bytes = id.map(|id| tokenizer.token_bytes(id)).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let template = ChatTemplate {
        source: source.chat_template.clone(),
        bos_token: name(tokenizer.bos()),
        eos_token: name(tokenizer.eos()),
        ..ChatTemplate::default()
    };
    let rendered = template.render(&[Message::new("user", text)]).unwrap();
    // What a device does without Jinja.
    let (prefix, suffix) = source.single_turn.as_ref().unwrap();
    assert_eq!(format!("{prefix}{text}{suffix}"), rendered);
    [
        encode(&tokenizer, text, options(true)),
        encode(&tokenizer, &rendered, options(false)),
    ]
}

/// How many tokens a prompt has before its text: none, or begin of text.
fn starts(source: &Source) -> [usize; 2] {
    prompts(source, "word").map(|ids| ids.iter().take_while(|id| **id == 0).count())
}

/// As llama.cpp: src/llama-vocab.cpp for plain prompts, common/chat.cpp, which
/// takes a written token away before the tokenizer puts one first, for chats.
#[test]
fn gguf_prompts_begin_as_in_llama_cpp() {
    let (plain, written) = (
        "{{ messages[0].content }}",
        "{{ bos_token }}{{ messages[0].content }}",
    );
    let add = |value| ("tokenizer.ggml.add_bos_token", Gguf::Flag(value));
    let template = |text| ("tokenizer.chat_template", Gguf::Text(text));
    for (pre, is_added) in [
        ("llama-bpe", 1),
        ("llama3", 1),
        ("llama-v3", 1),
        ("tekken", 1),
        ("gpt-2", 0),
        ("smollm", 0),
        ("qwen2", 0),
        ("deepseek-r1-qwen", 0),
        ("deepseek-llm", 0),
        ("deepseek-coder", 0),
        ("deepseek-v3", 0),
        ("gpt-4o", 0),
    ] {
        let absent = gguf(&[template(plain)], pre);
        assert_eq!(starts(&absent), [is_added, is_added], "{pre}");
        let absent = gguf(&[template(written)], pre);
        assert_eq!(starts(&absent), [is_added, 1], "{pre}");
        let never = gguf(&[add(false), template(plain)], pre);
        assert_eq!(starts(&never), [0, 0], "{pre}");
        let never = gguf(&[add(false), template(written)], pre);
        assert_eq!(starts(&never), [0, 1], "{pre}");
        for text in [plain, written, "<|bos|>{{ messages[0].content }}"] {
            let always = gguf(&[add(true), template(text)], pre);
            assert_eq!(starts(&always), [1, 1], "{pre}: {text}");
        }
    }
}

/// DeepSeek's folders have `add_bos_token` and a post-processor that does not
/// put the token first. Their conversions have the key in GGUF, the token as
/// `bos_token_id` and the same template (the Python package `gguf`,
/// `SpecialVocab`).
#[test]
fn a_folder_and_its_own_conversion_have_the_same_prompts() {
    let post_processor = json!({"type": "ByteLevel", "add_prefix_space": true,
        "trim_offsets": false, "use_regex": true});
    let (_folder, folder) = folder(json!({"add_bos_token": true}), Some(post_processor));
    let config = golden("tokenizer_config.json");
    let template = config["chat_template"].as_str().unwrap();
    let converted = gguf(
        &[
            ("tokenizer.ggml.add_bos_token", Gguf::Flag(true)),
            ("tokenizer.chat_template", Gguf::Text(template)),
        ],
        "deepseek-v3",
    );
    for text in ["word", "Two lines\n and 12345 digits", "很好 é!"] {
        assert_eq!(prompts(&folder, text), prompts(&converted, text), "{text}");
    }
    assert_eq!(starts(&folder), [1, 1]);
    assert_eq!(folder.stop_tokens, converted.stop_tokens);
}

/// As transformers: the post-processor writes the token before plain prompts,
/// the template alone before chats, with the tokenizer's `bos_token` or none.
#[test]
fn folders_prompts_begin_as_in_transformers() {
    let none = || {
        Some(json!({"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": true}))
    };
    let plain = "{{ messages[0].content }}";
    let start = |config: Value, post_processor| starts(&folder(config, post_processor).1);
    assert_eq!(start(json!({}), None), [1, 1]);
    assert_eq!(start(json!({"add_bos_token": false}), None), [1, 1]);
    assert_eq!(start(json!({"chat_template": plain}), None), [1, 0]);
    assert_eq!(start(json!({"add_bos_token": false}), none()), [0, 1]);
    assert_eq!(start(json!({"add_bos_token": null}), none()), [0, 1]);
    // config.json and generation_config.json name token 0 all the same.
    for absent in [json!({"bos_token": null}), json!({"bos_token": ""})] {
        assert_eq!(start(absent, none()), [0, 0]);
    }
}

/// What a device is told is what the tool knows.
#[test]
fn a_folder_s_ends_are_in_its_tokenizer_too() {
    let ends = |source: &Source| -> Vec<u32> {
        Tokenizer::new(&source.tokenizer)
            .unwrap()
            .section_stops()
            .collect()
    };
    let (path, source) = folder(json!({"eos_token": "<think>"}), None);
    // The tokenizer's own end joins the one of generation_config.json.
    assert_eq!(source.stop_tokens, [1, 2]);
    assert_eq!(ends(&source), [1, 2]);
    let several = json!({"eos_token_id": [3, 1]}).to_string();
    std::fs::write(path.path().join("generation_config.json"), several).unwrap();
    assert_eq!(open(path.path()).stop_tokens, [3, 1, 2]);
    assert_eq!(ends(&open(path.path())), [3, 1, 2]);
}

/// A padded vocabulary has ids that the tokenizer does not: one of them can
/// end an answer, but is no token of the text.
#[test]
fn an_end_among_the_padding_opens() {
    let (path, _) = folder(json!({"eos_token": null}), None);
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(path.path().join("config.json")).unwrap()).unwrap();
    config["vocab_size"] = json!(520);
    std::fs::write(path.path().join("config.json"), config.to_string()).unwrap();
    let beyond = json!({"eos_token_id": 515}).to_string();
    std::fs::write(path.path().join("generation_config.json"), beyond).unwrap();
    let source = open(path.path());
    assert_eq!(source.stop_tokens, [515]);
    let tokenizer = Tokenizer::new(&source.tokenizer).unwrap();
    assert_eq!(
        (tokenizer.eos(), tokenizer.section_stops().count()),
        (None, 0)
    );
}

/// Whatever is wrong with special tokens shows when a file is packed.
#[test]
fn what_nothing_could_open_is_refused() {
    let (path, _) = folder(json!({}), None);
    let refusal = |change: &dyn Fn(&mut Value)| {
        let mut tokenizer = golden("tokenizer.json");
        change(&mut tokenizer);
        std::fs::write(path.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        match checkpoint::open(path.path()) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    };
    let mut config: Value =
        serde_json::from_slice(&std::fs::read(path.path().join("config.json")).unwrap()).unwrap();
    config["vocab_size"] = json!(520);
    std::fs::write(path.path().join("config.json"), config.to_string()).unwrap();
    let error = refusal(&|tokenizer| {
        tokenizer["post_processor"]["special_tokens"]["<|bos|>"]["ids"] = json!([515]);
    });
    assert!(
        error.contains("has the id 515, but there are 512 tokens"),
        "{error}"
    );
    let error = refusal(&|tokenizer| {
        let digits = json!({"type": "Digits", "individual_digits": true});
        let steps = tokenizer["pre_tokenizer"]["pretokenizers"].as_array_mut();
        steps.unwrap().splice(0..0, vec![digits; 20]);
    });
    assert!(error.contains("steps is 23"), "{error}");
}
