# A mixture built on a schedule: Cloud Scheduler -> Workflows -> Dataflow, with a bucket and the service accounts they need.
#
#   terraform init
#   terraform apply -var project=... -var bucket=... -var image=... -var recipe=gs://.../mixture.yaml

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 5.0"
    }
  }
}

variable "project" {
  type        = string
  description = "Project that pays for the jobs."
}

variable "region" {
  type        = string
  description = "Region of bucket, jobs and schedule: in another one, every image read would be paid for as traffic."
  default     = "us-central1"
}

variable "bucket" {
  type        = string
  description = "Name of the bucket to make, for stores, mixtures, templates and temporary files."
}

variable "image" {
  type        = string
  description = "Container image of launcher and workers, with its digest: NAME@sha256:..."
}

variable "recipe" {
  type        = string
  description = "URI of the recipe. Its store may be anywhere in the bucket."
}

variable "out" {
  type        = string
  description = "Name of the mixture in the bucket."
  default     = "mixture"

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]*[a-z0-9])?$", var.out))
    error_message = "Letters, digits and hyphens only: it is a part of the job's name."
  }
}

variable "robot_frac" {
  type        = string
  description = "Fraction of examples that are robot steps; null takes the recipe's."
  default     = null
}

variable "sources" {
  type        = list(string)
  description = "Other buckets that hold sources or the recipe, to be read."
  default     = []
}

variable "schedule" {
  type        = string
  description = "When to build, as cron has it."
  default     = "0 3 * * *"
}

variable "time_zone" {
  type        = string
  description = "Time zone of the schedule."
  default     = "Etc/UTC"
}

variable "max_workers" {
  type        = number
  description = "Most machines that a job may use: a limit of its cost in an hour."
  default     = 100
}

variable "keep_days" {
  type        = number
  description = "Days after which what jobs left in dataflow/ goes."
  default     = 30
}

locals {
  template = "gs://${google_storage_bucket.data.name}/templates/build_mixture.json"
  # Replaced by overwriting: a build of an unchanged recipe finds its output complete and writes nothing.
  parameters = merge(
    {
      recipe    = var.recipe
      out       = "gs://${google_storage_bucket.data.name}/${var.out}"
      overwrite = "true"
    },
    var.robot_frac == null ? {} : { robot_frac = var.robot_frac },
  )
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_project_service" "needed" {
  for_each = toset([
    "artifactregistry.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "dataflow.googleapis.com",
    "workflows.googleapis.com",
    "workflowexecutions.googleapis.com",
  ])
  service            = each.value
  disable_on_destroy = false
}

resource "google_storage_bucket" "data" {
  name                        = var.bucket
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Deleted objects are billed for days otherwise, and what is deleted here can be made again.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  # Only temporary files of jobs go by age: a store that loses an image that it made is prepared again.
  lifecycle_rule {
    condition {
      age            = var.keep_days
      matches_prefix = ["dataflow/"]
    }
    action {
      type = "Delete"
    }
  }

  # Parts of uploads that were given up are billed, and no object ever has them.
  lifecycle_rule {
    condition {
      age = 7
    }
    action {
      type = "AbortIncompleteMultipartUpload"
    }
  }
}

# Launcher and workers: read sources, write stores and mixtures.

resource "google_service_account" "worker" {
  account_id   = "rt2data-worker"
  display_name = "rt2data: launcher and workers of Dataflow"
}

resource "google_project_iam_member" "worker" {
  for_each = toset(["roles/dataflow.worker", "roles/artifactregistry.reader"])
  project  = var.project
  role     = each.value
  member   = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "worker" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectAdmin"
  member = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "worker_sees_bucket" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.legacyBucketReader"
  member = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "sources" {
  for_each = toset(var.sources)
  bucket   = each.value
  role     = "roles/storage.objectViewer"
  member   = google_service_account.worker.member
}

# The workflow: launch the template as the workers' account, and read why it failed.

resource "google_service_account" "workflow" {
  account_id   = "rt2data-workflow"
  display_name = "rt2data: the workflow that launches builds"
}

resource "google_project_iam_member" "workflow" {
  for_each = toset(["roles/dataflow.developer", "roles/logging.logWriter"])
  project  = var.project
  role     = each.value
  member   = google_service_account.workflow.member
}

resource "google_service_account_iam_member" "workflow_acts_as_worker" {
  service_account_id = google_service_account.worker.name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.workflow.member
}

resource "google_storage_bucket_iam_member" "workflow" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.workflow.member
}

resource "google_workflows_workflow" "build" {
  name                = "rt2data-build"
  region              = var.region
  description         = "Builds a mixture on Dataflow, and fails as the job fails."
  service_account     = google_service_account.workflow.id
  source_contents     = file("${path.module}/workflow.yaml")
  deletion_protection = false
  depends_on          = [google_project_service.needed]
}

# The schedule.

resource "google_service_account" "scheduler" {
  account_id   = "rt2data-scheduler"
  display_name = "rt2data: starts the workflow"
}

resource "google_project_iam_member" "scheduler" {
  project = var.project
  role    = "roles/workflows.invoker"
  member  = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "build" {
  name        = "rt2data-build"
  region      = var.region
  description = "Builds ${var.out}."
  schedule    = var.schedule
  time_zone   = var.time_zone
  depends_on  = [google_project_service.needed]

  http_target {
    http_method = "POST"
    uri         = "https://workflowexecutions.googleapis.com/v1/${google_workflows_workflow.build.id}/executions"
    body = base64encode(jsonencode({
      argument = jsonencode({
        job             = "rt2data-${var.out}"
        region          = var.region
        template        = local.template
        image           = var.image
        service_account = google_service_account.worker.email
        bucket          = google_storage_bucket.data.name
        max_workers     = var.max_workers
        parameters      = local.parameters
      })
    }))
    oauth_token {
      service_account_email = google_service_account.scheduler.email
    }
  }
}

output "template" {
  value       = local.template
  description = "Where `gcloud dataflow flex-template build` is to write the template."
}

output "run_now" {
  value       = "gcloud scheduler jobs run ${google_cloud_scheduler_job.build.name} --location=${var.region} --project=${var.project}"
  description = "Builds at once, as the schedule would."
}
