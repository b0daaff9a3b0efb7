"""JSON schemas that are as strict as server-side apply is."""

from rendering import Manifest


def closed(schema: Manifest) -> Manifest:
    """The same schema, but a field that it does not name is an error."""
    strict = dict(schema)
    if "properties" in schema:
        fields = schema["properties"].items()
        strict["properties"] = {name: closed(field) for name, field in fields}
        strict["additionalProperties"] = False
    if "items" in schema:
        strict["items"] = closed(schema["items"])
    return strict


def schema_of(definition: Manifest) -> Manifest:
    """The schema of a CustomResourceDefinition's one version, closed."""
    [version] = definition["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    # Every object has these two; a CRD need not name them.
    properties = {"apiVersion": {}, "kind": {}, **schema["properties"]}
    return closed({**schema, "properties": properties})
