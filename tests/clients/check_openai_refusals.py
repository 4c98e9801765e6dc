#!/usr/bin/env python3
"""OpenAI's Python client against a server that has a key, runs one sequence and lets one wait:
check_openai_refusals.py URL KEY"""
import asyncio
import sys

import openai


async def main():
    url, key = sys.argv[1] + "/v1", sys.argv[2]
    try:
        await openai.AsyncOpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()
        raise AssertionError("a wrong key was let in")
    except openai.AuthenticationError as error:
        assert error.status_code == 401

    # Azure's client: the key in a header of its own, the deployment in the path.
    for settings in ({"azure_deployment": "demo"}, {}):
        azure = openai.AsyncAzureOpenAI(azure_endpoint=sys.argv[1], api_key=key, api_version="2024-10-21", max_retries=0,
                                        **settings)
        assert (await azure.completions.create(model="demo", prompt="Once", max_tokens=4)).choices[0].text

    def ask(client):
        return client.completions.create(model="demo", prompt="Once", max_tokens=400, temperature=0,
                                         extra_body={"ignore_eos": True})

    impatient = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
    answers = await asyncio.gather(*(ask(impatient) for _ in range(16)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    for error in refused:
        assert type(error) is openai.RateLimitError and error.code == "queue_full", repr(error)
        assert int(error.response.headers["retry-after"]) >= 1 and int(error.response.headers["retry-after-ms"]) > 0
    assert 1 <= len(refused) < 16, f"{len(refused)} of 16 were refused"

    # With the client's own retries, which follow Retry-After, all requests succeed.
    patient = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=20)
    texts = {answer.choices[0].text for answer in await asyncio.gather(*(ask(patient) for _ in range(6)))}
    assert len(texts) == 1
    print(f"openai {openai.__version__}: refusals: as expected ({len(refused)} of 16 refused)")


asyncio.run(main())
