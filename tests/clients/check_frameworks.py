#!/usr/bin/env python3
"""What people build on OpenAI's API, against a server with the demo model: check_frameworks.py URL

Each library is used as its own introduction does, by the base URL alone."""
import asyncio
import os
import sys

os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", TIKTOKEN_CACHE_DIR="/nonexistent", HF_HUB_OFFLINE="1")

URL = sys.argv[1] + "/v1"
QUESTION = "Tell me a story about a fox."
GREEDY = {"temperature": 0, "max_tokens": 24}


def check_litellm():
    import litellm
    settings = {"model": "openai/demo", "api_base": URL, "api_key": "none", "num_retries": 0, **GREEDY}
    messages = [{"role": "user", "content": QUESTION}]
    whole = litellm.completion(messages=messages, **settings)
    text = whole.choices[0].message.content
    assert text and whole.usage.completion_tokens > 1, whole
    chunks = list(litellm.completion(messages=messages, stream=True, **settings))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text, chunks
    prompt = litellm.text_completion(prompt="Once upon a time", **{**settings, "model": "text-completion-openai/demo"})
    assert prompt.choices[0].text, prompt
    vectors = litellm.embedding(model="openai/demo", input=["one", "two"], api_base=URL, api_key="none")
    assert len(vectors.data) == 2 and len(vectors.data[0]["embedding"]) > 1


def check_langchain():
    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    chat = ChatOpenAI(model="demo", base_url=URL, api_key="none", max_retries=0, **GREEDY)
    messages = [SystemMessage("You tell stories."), HumanMessage(QUESTION)]
    whole = chat.invoke(messages)
    assert whole.content and whole.usage_metadata["output_tokens"] > 1, whole
    assert "".join(chunk.content for chunk in chat.stream(messages)) == whole.content
    batch = asyncio.run(chat.abatch([messages] * 4))
    assert [answer.content for answer in batch] == [whole.content] * 4
    # Without the check it sends token ids, which a server of another tokenizer would read wrongly.
    embeddings = OpenAIEmbeddings(model="demo", base_url=URL, api_key="none", check_embedding_ctx_length=False)
    vectors = embeddings.embed_documents([f"text {i}" for i in range(1500)])
    assert len(vectors) == 1500 and vectors[0] != vectors[1]


def check_llama_index():
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike
    model = OpenAILike(model="demo", api_base=URL, api_key="none", is_chat_model=True, max_retries=0, **GREEDY)
    messages = [ChatMessage(role="user", content=QUESTION)]
    whole = model.chat(messages).message.content
    assert whole
    assert "".join(part.delta or "" for part in model.stream_chat(messages)) == whole
    plain = OpenAILike(model="demo", api_base=URL, api_key="none", is_chat_model=False, max_retries=0, **GREEDY)
    assert plain.complete("Once upon a time").text


def check_guidance():
    import guidance
    model = guidance.models.OpenAI("demo", base_url=URL, api_key="none", echo=False)
    with guidance.user():
        model += QUESTION
    with guidance.assistant():
        model += guidance.gen("story", max_tokens=24, temperature=0)
    assert model["story"], model


def animal_model():
    import pydantic
    from typing import Literal

    class Animal(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid")  # the demo model would write more for ever
        kind: Literal["fox", "cat", "owl"]
        num_legs: int = pydantic.Field(ge=2, le=8)
        is_wild: bool

    return Animal


def check_instructor():
    import instructor
    import openai
    for mode in [instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA]:
        client = instructor.from_openai(openai.OpenAI(base_url=URL, api_key="none", max_retries=0), mode=mode)
        animal = client.chat.completions.create(model="demo", messages=[{"role": "user", "content": QUESTION}],
                                                response_model=animal_model(), max_retries=1, temperature=0,
                                                max_tokens=200)
        assert animal.num_legs >= 2, animal


def check_outlines():
    import openai
    import outlines
    from typing import Literal
    client = openai.OpenAI(base_url=URL, api_key="none", max_retries=0)
    Animal = animal_model()
    for model in [outlines.from_openai(client, "demo"), outlines.from_vllm(client, "demo")]:
        text = model(QUESTION, Animal, max_tokens=200, temperature=0)
        assert Animal.model_validate_json(text).num_legs >= 2, text
    served = outlines.from_vllm(client, "demo")
    assert served(QUESTION, outlines.regex("[0-9]{3}"), max_tokens=20).isdigit()
    assert served(QUESTION, Literal["red", "green"], max_tokens=20) in ("red", "green")


def main():
    for check in [check_litellm, check_langchain, check_llama_index, check_guidance, check_instructor, check_outlines]:
        check()
    print("frameworks: litellm, langchain, llama-index, guidance, instructor and outlines are answered")


if __name__ == "__main__":
    main()
