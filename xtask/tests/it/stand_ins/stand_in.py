"""Stands in for gcloud, terraform and docker: records each call, and answers as the tool does.

STAND_IN_STATE is a folder: what was applied is in state.json, the calls are in calls. A call that contains
STAND_IN_FAIL fails. The tokens that it gives must appear nowhere else.
"""

import json
import os
import sys

FOLDER = os.environ["STAND_IN_STATE"]
FILE = os.path.join(FOLDER, "state.json")
TOKEN = "stand-in-token-that-nobody-may-see"
MODULES = ["network", "iam", "secrets", "redis", "alloydb", "api", "monitoring"]
OUTPUTS = {
    "iam": {
        "workload_identity_provider": "projects/1/locations/global/workloadIdentityPools/p/providers/github",
        "plan_service_account": "plan@example-project.iam.gserviceaccount.com",
        "deploy_service_account": "deploy@example-project.iam.gserviceaccount.com",
    },
    "secrets": {"secrets": {"api-keys": "orchestra-dev-api-keys"}},
    "redis": {"redis_address": "10.64.1.2:6379"},
    "alloydb": {"alloydb_primary_address": "10.64.0.2", "alloydb_read_address": "10.64.0.3"},
    "repository": {"artifact_repository": "us-central1-docker.pkg.dev/example-project/orchestra-dev"},
    "migrations": {"migrations_job": "orchestra-dev-migrations"},
    "api": {"api_url": "https://orchestra-dev-api.example.run.app", "api_service_name": "orchestra-dev-api"},
    "monitoring": {"budget_topic": "projects/example-project/topics/budget", "dashboards": {"cost": "1", "memory": "2"}},
}


def main():
    tool, words = sys.argv[1], sys.argv[2:]
    call = " ".join([tool, *words]).replace(FOLDER, "STATE")
    with open(os.path.join(FOLDER, "calls"), "a") as calls:
        calls.write(call + "\n")
    fail = os.environ.get("STAND_IN_FAIL")
    if fail and fail in call:
        sys.exit("the stand-in was told to fail")
    state = json.load(open(FILE)) if os.path.exists(FILE) else {"applied": [], "images": [], "revisions": []}
    status = {"gcloud": gcloud, "terraform": terraform, "docker": docker}[tool](words, call, state)
    with open(FILE, "w") as file:
        json.dump(state, file)
    sys.exit(status)


def terraform(words, call, state):
    if words[0] == "version":
        print(json.dumps({"terraform_version": "1.11.4"}))
        return 0
    command, words = words[1], words[2:]
    variables = dict(word[5:].split("=", 1) for word in words if word.startswith("-var="))
    targets = [word[8:] for word in words if word.startswith("-target=")]
    if command == "plan":
        if not targets:
            return 2 if state.get("drift") else 0
        of_image = "module.api" in targets[0]
        image = variables.get("image") if of_image else None
        change = {"target": targets[0], "image": image, "stable": variables.get("stable_revision")}
        if change in state["applied"]:
            return 0
        out = next(word[5:] for word in words if word.startswith("-out="))
        json.dump(change, open(out, "w"))
        return 2
    if command == "apply":
        change = json.load(open(words[-1]))
        if change["target"] == "module.api":
            if not change["image"]:
                sys.exit("the service needs an image")
            # Another image or another share of the requests takes the place of what was applied before.
            state["applied"] = [other for other in state["applied"] if other["target"] != "module.api"]
            if not state["revisions"] or state["revisions"][-1]["image"] != change["image"]:
                name = "orchestra-dev-api-%05d" % (len(state["revisions"]) + 1)
                state["revisions"].append({"name": name, "image": change["image"]})
            state["stable"] = change["stable"]
        state["applied"].append(change)
    if command == "output":
        names = [change["target"] for change in state["applied"]]
        known = {}
        for module, outputs in OUTPUTS.items():
            if any(module == name.split(".")[1] or module in name for name in names):
                known.update(outputs)
        print(json.dumps({name: {"sensitive": False, "type": "string", "value": value} for name, value in known.items()}))
    return 0


def docker(words, call, state):
    if words[0] == "push":
        state["images"].append(words[1])
    return 0


def gcloud(words, call, state):
    def says(*parts):
        return all(part in words for part in parts)

    if says("auth", "list"):
        print("someone@example.com")
    elif says("print-access-token") or says("print-identity-token"):
        print(TOKEN)
    elif says("projects", "describe") and "billing" not in words:
        print(json.dumps({"projectId": "example-project", "lifecycleState": "ACTIVE"}))
    elif says("billing", "projects", "describe"):
        print("True")
    elif says("services", "list"):
        print(os.environ["STAND_IN_APIS"].replace(",", "\n"))
    elif says("project-info", "describe"):
        print(json.dumps({"quotas": [{"metric": "NETWORKS", "usage": 1, "limit": 5}]}))
    elif says("storage", "buckets"):
        return bucket(words, state)
    elif says("secrets", "versions", "list"):
        print("1")
    elif says("artifacts", "images", "describe"):
        tag = next(word for word in words if ":" in word and "/" in word)
        print("sha256:" + ("%x" % (state["images"].index(tag) + 1)).rjust(64, "0"))
    elif says("alloydb", "instances", "list"):
        pool = {"instanceType": "READ_POOL", "readPoolConfig": {"nodeCount": 1}}
        print(json.dumps([{"instanceType": "PRIMARY", "availabilityType": "ZONAL"}, pool]))
    elif says("run", "services", "describe"):
        return service(state)
    elif says("run", "revisions", "describe"):
        print(json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}))
    elif says("monitoring", "dashboards", "list"):
        print("Costs\nMemory")
    return 0


def bucket(words, state):
    if "create" in words:
        state["bucket"] = {"uniform_bucket_level_access": True, "public_access_prevention": "enforced"}
    elif "update" in words:
        state["bucket"]["versioning_enabled"] = True
    elif "bucket" not in state:
        return 1
    else:
        print(json.dumps(state["bucket"]))
    return 0


def service(state):
    if not state["revisions"]:
        return 1
    newest = state["revisions"][-1]["name"]
    stable = state.get("stable")
    traffic = [{"revisionName": stable or newest, "percent": 100}]
    if stable:
        traffic.append({"revisionName": newest, "percent": 0, "tag": "canary", "url": os.environ["STAND_IN_URL"]})
    annotations = {"run.googleapis.com/ingress": "all"}
    status = {"latestCreatedRevisionName": newest, "traffic": traffic}
    print(json.dumps({"metadata": {"annotations": annotations}, "status": status}))
    return 0


main()
