"""Checks a document against the rules of OpenAPI 3.1, and what was sent and answered against the document."""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012


def strict(node):
    """Forbids members that are not described: in an answer they are allowed to others, and here they are a mistake."""
    if isinstance(node, list):
        for item in node:
            strict(item)
    elif isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and ("oneOf" in node or "anyOf" in node):
            # Its alternatives are a part of it: each has members that another place describes.
            node.setdefault("unevaluatedProperties", False)
            strict(node["properties"])
            return
        if isinstance(node.get("properties"), dict) and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        for item in node.values():
            strict(item)


def main(document_path, instances_path):
    with open(document_path, encoding="utf-8") as file:
        document = json.load(file)
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        sys.exit(f"not OpenAPI 3.1: {'/'.join(map(str, error.absolute_path))}: {error.message}")

    strict(document["components"]["schemas"])
    resource = Resource.from_contents(document, default_specification=DRAFT202012)
    registry = Registry().with_resource("urn:document", resource)

    def errors(pointer, value):
        schema = {"$ref": f"urn:document#{pointer}"}
        validator = Draft202012Validator(schema, registry=registry, format_checker=FormatChecker())
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    # It can tell.
    memory = "/components/schemas/NewMemory"
    assert errors(memory, {"text": "t"}) == []
    for wrong in [{}, {"text": 7}, {"text": "t", "colour": 1}, {"text": "t", "kind": "dream"}, {"text": "t", "id": "x"}]:
        assert errors(memory, wrong), wrong
    assert errors("/components/schemas/Alive", {"status": "ok", "more": 1})

    with open(instances_path, encoding="utf-8") as file:
        instances = json.load(file)
    for instance in instances:
        found = errors(instance["schema"].replace("{", "%7B").replace("}", "%7D"), instance["value"])
        if found:
            sys.exit(f"{instance['what']}: {'; '.join(found)}\n{json.dumps(instance['value'], indent=2)[:4000]}")
    print(len(instances), "fit")


main(*sys.argv[1:])
